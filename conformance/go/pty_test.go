package conformance

import (
	"context"
	"strings"
	"testing"

	"github.com/daytona/clients/sdk-go/pkg/daytona"
	"github.com/daytona/clients/sdk-go/pkg/options"
	"github.com/daytona/clients/sdk-go/pkg/types"
)

// reads takes what a terminal shows until the text has come.
func reads(t *testing.T, handle *daytona.PtyHandle, wanted string) string {
	t.Helper()
	limited, cancel := context.WithTimeout(background, patience)
	defer cancel()
	var seen strings.Builder
	for !strings.Contains(seen.String(), wanted) {
		select {
		case piece, is := <-handle.DataChan():
			if !is {
				t.Fatalf("the terminal ended; %q never came, but %q", wanted, seen.String())
			}
			seen.Write(piece)
		case <-limited.Done():
			t.Fatalf("%q never came, but %q", wanted, seen.String())
		}
	}
	return seen.String()
}

func terminal(t *testing.T, sandbox *daytona.Sandbox, id string, opts ...func(*options.CreatePty)) *daytona.PtyHandle {
	t.Helper()
	handle, err := sandbox.Process.CreatePty(background, id, opts...)
	check(t, err)
	check(t, handle.WaitForConnection(background))
	return handle
}

// leaves types a last line and wants this end, while it reads whatever comes.
func leaves(t *testing.T, handle *daytona.PtyHandle, code int) *types.PtyResult {
	t.Helper()
	go func() {
		for range handle.DataChan() {
		}
	}()
	limited, cancel := context.WithTimeout(background, patience)
	defer cancel()
	result, err := handle.Wait(limited)
	check(t, err)
	if result.ExitCode == nil {
		t.Fatalf("there is no exit code, but %q", *result.Error)
	}
	equal(t, "the exit code", *result.ExitCode, code)
	return result
}

func TestATerminalIsMadeUsedAndLeft(t *testing.T) {
	sandbox := fresh(t)
	handle := terminal(t, sandbox, "work",
		options.WithCreatePtySize(types.PtySize{Cols: 100, Rows: 30}),
		options.WithCreatePtyEnv(map[string]string{"NAME": "a b"}))
	equal(t, "whether it is connected", handle.IsConnected(), true)
	check(t, handle.SendInput([]byte("echo \"<$NAME>\"; stty size\n")))
	shown := reads(t, handle, "30 100")
	equal(t, "whether the variable is there", strings.Contains(shown, "<a b>"), true)
	check(t, handle.SendInput([]byte("seq 100000; exit 7\n")))
	reads(t, handle, "\n100000\r\n")
	result := leaves(t, handle, 7)
	if result.Error == nil || *result.Error == "" {
		t.Fatalf("the end has no reason: %+v", result)
	}
	_, err := sandbox.Process.GetPtySessionInfo(background, "work")
	refused(t, 404, err)
}

func TestATerminalThatIsLeftWithoutFailureHasNoError(t *testing.T) {
	sandbox := fresh(t)
	handle := terminal(t, sandbox, "work")
	check(t, handle.SendInput([]byte("exit\n")))
	result := leaves(t, handle, 0)
	if result.Error != nil && *result.Error != "" {
		t.Fatalf("the end has an error: %s", *result.Error)
	}
}

func TestTerminalsAreListedResizedAndKilled(t *testing.T) {
	sandbox := fresh(t)
	process := sandbox.Process
	one, two := terminal(t, sandbox, "one"), terminal(t, sandbox, "two")
	infos, err := process.ListPtySessions(background)
	check(t, err)
	equal(t, "how many there are", len(infos), 2)
	info, err := one.Resize(background, 120, 40)
	check(t, err)
	equal(t, "its size", [2]int{info.Cols, info.Rows}, [2]int{120, 40})
	info, err = process.GetPtySessionInfo(background, "one")
	check(t, err)
	equal(t, "its size", [2]int{info.Cols, info.Rows}, [2]int{120, 40})
	check(t, one.SendInput([]byte("stty size; sleep 4242\n")))
	reads(t, one, "40 120")
	check(t, process.KillPtySession(background, "one"))
	eventually(t, "the end of its programs", func() bool {
		return run(t, sandbox, "pgrep -f 'sleep 424[2]' || true") == ""
	})
	check(t, two.Kill(background))
	leaves(t, two, 137)
	infos, err = process.ListPtySessions(background)
	check(t, err)
	equal(t, "how many are left", len(infos), 0)
}

func TestATerminalOutlivesItsClient(t *testing.T) {
	sandbox := fresh(t)
	handle := terminal(t, sandbox, "work")
	check(t, handle.SendInput([]byte("A=kept; echo re''ady\n")))
	reads(t, handle, "ready")
	check(t, handle.Disconnect())
	handle, err := sandbox.Process.ConnectPty(background, "work")
	check(t, err)
	check(t, handle.WaitForConnection(background))
	check(t, handle.SendInput([]byte("echo \"<$A>\"\n")))
	reads(t, handle, "<kept>")
	check(t, handle.SendInput([]byte("exit 5\n")))
	leaves(t, handle, 5)
}

func TestATerminalOfWhichNobodyKnowsIsRefused(t *testing.T) {
	sandbox := fresh(t)
	terminal(t, sandbox, "taken")
	if _, err := sandbox.Process.CreatePty(background, "taken"); err == nil {
		t.Fatal("a second terminal has the same id")
	}
	_, err := sandbox.Process.CreatePtySession(background, "taken")
	refused(t, 409, err)
	handle, err := sandbox.Process.ConnectPty(background, "missing")
	if err == nil {
		err = handle.WaitForConnection(background)
	}
	if err == nil {
		t.Fatal("a terminal that does not exist was connected")
	}
}
