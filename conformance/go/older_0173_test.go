//go:build older && !v0_145_0

package conformance

import (
	"testing"
	"time"

	"github.com/daytona/clients/sdk-go/pkg/daytona"
)

func forceStop(sandbox *daytona.Sandbox) error {
	return sandbox.StopWithTimeout(background, time.Minute, true)
}

func logsOf(t *testing.T, sandbox *daytona.Sandbox, session, command string) (string, string) {
	t.Helper()
	logs, err := sandbox.Process.GetSessionCommandLogs(background, session, command)
	check(t, err)
	out, fault := split(logs.GetOutput())
	equal(t, "both streams", [2]string{out, fault}, [2]string{logs.GetStdout(), logs.GetStderr()})
	return out, fault
}
