package conformance

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/daytona/clients/sdk-go/pkg/daytona"
)

func session(t *testing.T) *daytona.Sandbox {
	t.Helper()
	sandbox := fresh(t)
	check(t, sandbox.Process.CreateSession(background, "work"))
	return sandbox
}

// follow reads live logs to their end. seen is told all that has come of both streams, whenever something comes.
func follow(t *testing.T, sandbox *daytona.Sandbox, command string, seen func(out, err string)) (string, string) {
	t.Helper()
	return streams(t, func(out, err chan<- string) error {
		return sandbox.Process.GetSessionCommandLogsStream(background, "work", command, out, err)
	}, seen)
}

func streams(t *testing.T, read func(out, err chan<- string) error, seen func(out, err string)) (string, string) {
	t.Helper()
	var lock sync.Mutex
	var all sync.WaitGroup
	pieces := [2]string{}
	streams := [2]chan string{make(chan string), make(chan string)}
	for stream, from := range streams {
		all.Go(func() {
			for piece := range from {
				lock.Lock()
				pieces[stream] += piece
				if seen != nil {
					seen(pieces[0], pieces[1])
				}
				lock.Unlock()
			}
		})
	}
	err := read(streams[0], streams[1])
	all.Wait()
	check(t, err)
	return pieces[0], pieces[1]
}

func TestASessionRemembersAndTellsBothStreams(t *testing.T) {
	sandbox := session(t)
	answer, err := sandbox.Process.ExecuteSessionCommand(background, "work", "cd /tmp; A=1; f() { echo \"f $1\"; }", false, false)
	check(t, err)
	equal(t, "the exit code", answer["exitCode"].(int32), 0)
	answer, err = sandbox.Process.ExecuteSessionCommand(background, "work", "pwd; f $A; echo err >&2; (exit 3)", false, false)
	check(t, err)
	equal(t, "the exit code", answer["exitCode"].(int32), 3)
	if minor(t) >= 167 {
		equal(t, "the output", answer["stdout"].(string), "/tmp\nf 1\n")
		equal(t, "the errors", answer["stderr"].(string), "err\n")
	}
	out, fault := logsOf(t, sandbox, "work", answer["id"].(string))
	equal(t, "the output", out, "/tmp\nf 1\n")
	equal(t, "the errors", fault, "err\n")
}

func TestSessionsAreListedAndDeleted(t *testing.T) {
	sandbox := session(t)
	process := sandbox.Process
	check(t, process.CreateSession(background, "other"))
	refused(t, 409, process.CreateSession(background, "other"))
	sessions, err := process.ListSessions(background)
	check(t, err)
	equal(t, "the number of sessions", len(sessions), 2)
	command := begin(t, sandbox, "other", "sleep 4242")
	found, err := process.GetSession(background, "other")
	check(t, err)
	equal(t, "its name", found["sessionId"].(string), "other")
	check(t, process.DeleteSession(background, "other"))
	equal(t, "what runs on", run(t, sandbox, "pgrep -f 'sleep 424[2]' || true"), "")
	_, err = process.GetSession(background, "other")
	refused(t, 404, err)
	_, err = process.GetSessionCommand(background, "work", command)
	refused(t, 404, err)
}

func TestAnAsynchronousCommandIsAskedLater(t *testing.T) {
	sandbox := session(t)
	command := begin(t, sandbox, "work", "for n in $(seq 2000); do [ -e go ] && break; sleep 0.01; done; echo out; echo err >&2; (exit 4)")
	upload(t, sandbox, "", "go")
	equal(t, "the exit code", ends(t, sandbox, "work", command), 4)
	out, fault := logsOf(t, sandbox, "work", command)
	equal(t, "both streams", [2]string{out, fault}, [2]string{"out\n", "err\n"})
}

func TestLiveLogsComeWhileTheCommandRuns(t *testing.T) {
	sandbox := session(t)
	command := begin(t, sandbox, "work",
		"echo 'out ä--'; echo 'err ☃--' >&2; for n in $(seq 2000); do [ -e go ] && break; sleep 0.01; done; echo out2; echo err2 >&2")
	var once sync.Once
	out, fault := follow(t, sandbox, command, func(out, fault string) {
		// The client keeps the last two bytes for itself until more comes. The command cannot end before this.
		if strings.HasPrefix(out, "out ä-") && strings.HasPrefix(fault, "err ☃-") {
			once.Do(func() {
				if err := sandbox.FileSystem.UploadFile(background, []byte{}, "go"); err != nil {
					t.Errorf("cannot upload: %v", err)
				}
			})
		}
	})
	equal(t, "the output", out, "out ä--\nout2\n")
	equal(t, "the errors", fault, "err ☃--\nerr2\n")
	equal(t, "the exit code", ends(t, sandbox, "work", command), 0)
}

func TestLongLiveLogsArriveWhole(t *testing.T) {
	sandbox := session(t)
	command := begin(t, sandbox, "work", "seq 1 100000; seq 1 1000 >&2")
	var wanted [2]strings.Builder
	for number := 1; number <= 100000; number++ {
		fmt.Fprintln(&wanted[0], number)
		if number <= 1000 {
			fmt.Fprintln(&wanted[1], number)
		}
	}
	out, fault := follow(t, sandbox, command, nil)
	equal(t, "whether the output is whole", out == wanted[0].String(), true)
	equal(t, "whether the errors are whole", fault == wanted[1].String(), true)
	ends(t, sandbox, "work", command)
	out, fault = follow(t, sandbox, command, nil)
	equal(t, "whether the output is whole afterwards", out == wanted[0].String(), true)
	equal(t, "whether the errors are whole afterwards", fault == wanted[1].String(), true)
}
