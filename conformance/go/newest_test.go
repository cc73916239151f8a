//go:build !older

package conformance

import (
	"errors"
	"testing"
	"time"

	"github.com/daytona/clients/sdk-go/pkg/daytona"
	sdk "github.com/daytona/clients/sdk-go/pkg/errors"
)

func statusOf(err error) int {
	var failure *sdk.DaytonaError
	if errors.As(err, &failure) {
		return failure.StatusCode
	}
	return 0
}

// list answers all that have the labels, however many requests that takes.
func list(t *testing.T, labels map[string]string, perPage int) []*daytona.Sandbox {
	t.Helper()
	var found []*daytona.Sandbox
	for sandbox, err := range client.ListSeq(background, &daytona.ListSandboxesQuery{Labels: labels, Limit: &perPage}) {
		check(t, err)
		found = append(found, sandbox)
	}
	return found
}

func forceStop(sandbox *daytona.Sandbox) error {
	return sandbox.StopWithTimeout(background, time.Minute, true)
}

func logsOf(t *testing.T, sandbox *daytona.Sandbox, session, command string) (string, string) {
	t.Helper()
	logs, err := sandbox.Process.GetSessionCommandLogs(background, session, command)
	check(t, err)
	return logs.GetStdout(), logs.GetStderr()
}
