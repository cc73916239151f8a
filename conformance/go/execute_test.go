package conformance

import (
	"strings"
	"testing"
	"time"

	"github.com/daytona/clients/sdk-go/pkg/options"
	"github.com/daytona/clients/sdk-go/pkg/types"
)

func TestACommandAnswersItsOutputAndExitCode(t *testing.T) {
	sandbox := fresh(t)
	answer, err := sandbox.Process.ExecuteCommand(background, "pwd; echo 'ä \"$HOME\"' >&2; exit 3", options.WithCwd("/tmp"))
	check(t, err)
	equal(t, "the exit code", answer.ExitCode, 3)
	equal(t, "the output", answer.Result, "/tmp\nä \"$HOME\"\n")
}

func TestACommandHasVariablesOfItsOwn(t *testing.T) {
	// The older one takes them and leaves them out.
	since(t, 167)
	sandbox := fresh(t)
	with := options.WithCommandEnv(map[string]string{"NAME": "a 'b' \"c\"\nd"})
	equal(t, "the output", run(t, sandbox, "echo \"$NAME\"", with), "a 'b' \"c\"\nd\n")
	equal(t, "the output", run(t, sandbox, "echo \"<$NAME>\""), "<>\n")
}

func TestACommandThatTakesTooLongIsEnded(t *testing.T) {
	sandbox := fresh(t)
	_, err := sandbox.Process.ExecuteCommand(background, "sleep 4242", options.WithExecuteTimeout(time.Second))
	refused(t, 408, err)
	equal(t, "what runs on", run(t, sandbox, "pgrep -f 'sleep 424[2]' || true"), "")
}

func TestLargeOutputArrivesWhole(t *testing.T) {
	sandbox := fresh(t)
	output := run(t, sandbox, "seq 200000")
	equal(t, "its lines", strings.Count(output, "\n"), 200000)
	equal(t, "its end", strings.HasSuffix(output, "\n200000\n"), true)
}

func TestCodeRunsInEachLanguage(t *testing.T) {
	since(t, 167)
	sandbox := fresh(t)
	params := options.WithCodeRunParams(types.CodeRunParams{Argv: []string{"one two"}, Env: map[string]string{"A": "1"}})
	answer, err := sandbox.Process.CodeRun(background, "import os, sys\nprint(sys.argv[1], os.environ['A'])", params)
	check(t, err)
	equal(t, "the output", answer.Result, "one two 1\n")
	for language, code := range map[types.CodeLanguage]string{
		types.CodeLanguageJavaScript: "console.log([1, 2].map(n => n * 2).join())",
		types.CodeLanguageTypeScript: "const n: number[] = [1, 2]; console.log(n.map(n => n * 2).join())",
	} {
		other := create(t, types.SnapshotParams{SandboxBaseParams: types.SandboxBaseParams{Language: language}})
		answer, err := other.Process.CodeRun(background, code)
		check(t, err)
		equal(t, "the output of "+string(language), answer.Result, "2,4\n")
	}
	answer, err = sandbox.Process.CodeRun(background, "raise ValueError('because')")
	check(t, err)
	equal(t, "the exit code", answer.ExitCode, 1)
	equal(t, "whether the reason is told", strings.Contains(answer.Result, "ValueError: because"), true)
	_, err = sandbox.Process.CodeRun(background, "import time\ntime.sleep(4242)", options.WithCodeRunTimeout(time.Second))
	refused(t, 408, err)
}
