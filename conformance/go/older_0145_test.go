//go:build older && v0_145_0

package conformance

import (
	"testing"

	"github.com/daytona/clients/sdk-go/pkg/daytona"
)

// This release cannot force a stop.
func forceStop(sandbox *daytona.Sandbox) error { return sandbox.Stop(background) }

func logsOf(t *testing.T, sandbox *daytona.Sandbox, session, command string) (string, string) {
	t.Helper()
	logs, err := sandbox.Process.GetSessionCommandLogs(background, session, command)
	check(t, err)
	return split(logs["logs"].(string))
}
