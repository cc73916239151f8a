package conformance

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/daytona/clients/sdk-go/pkg/daytona"
	"github.com/daytona/clients/sdk-go/pkg/options"
	"github.com/daytona/clients/sdk-go/pkg/types"
)

// interpret runs code to its end, and wants the pieces that came to be the whole.
func interpret(t *testing.T, sandbox *daytona.Sandbox, code string, opts ...func(*options.RunCode)) *types.ExecutionResult {
	t.Helper()
	channels, err := sandbox.CodeInterpreter.RunCode(background, code, opts...)
	check(t, err)
	var all sync.WaitGroup
	var out, fault strings.Builder
	all.Go(func() {
		for piece := range channels.Stdout {
			out.WriteString(piece.Text)
		}
	})
	all.Go(func() {
		for piece := range channels.Stderr {
			fault.WriteString(piece.Text)
		}
	})
	all.Go(func() {
		for range channels.Errors {
		}
	})
	result := <-channels.Done
	all.Wait()
	equal(t, "the pieces of the output", out.String(), result.Stdout)
	equal(t, "the pieces of the errors", fault.String(), result.Stderr)
	return result
}

func TestTheInterpreterKeepsItsState(t *testing.T) {
	sandbox := fresh(t)
	result := interpret(t, sandbox, "import sys\nx = 41\nprint('ä')\nprint('to err', file=sys.stderr)")
	if result.Error != nil {
		t.Fatalf("failed: %+v", result.Error)
	}
	equal(t, "the output", result.Stdout, "ä\n")
	equal(t, "the errors", result.Stderr, "to err\n")
	equal(t, "the output", interpret(t, sandbox, "print(x + 1)").Stdout, "42\n")
}

func TestAnExceptionIsAnErrorOfTheResult(t *testing.T) {
	sandbox := fresh(t)
	result := interpret(t, sandbox, "print('before')\nraise ValueError('because')")
	equal(t, "the output", result.Stdout, "before\n")
	if result.Error == nil || result.Error.Traceback == nil {
		t.Fatalf("no error was told: %+v", result)
	}
	equal(t, "the error", [2]string{result.Error.Name, result.Error.Value}, [2]string{"ValueError", "because"})
	equal(t, "whether the place is told", strings.Contains(*result.Error.Traceback, "line 2"), true)
}

func TestAnExecutionHasVariablesAndATimeOfItsOwn(t *testing.T) {
	sandbox := fresh(t)
	result := interpret(t, sandbox, "import os\nprint(os.environ['A'])", options.WithEnv(map[string]string{"A": "1"}))
	equal(t, "the output", result.Stdout, "1\n")
	result = interpret(t, sandbox, "import time\ntime.sleep(4242)", options.WithInterpreterTimeout(time.Second))
	if result.Error == nil {
		t.Fatal("it was not ended")
	}
	equal(t, "the error", result.Error.Name, "TimeoutError")
}

func TestContextsAreApartFromEachOther(t *testing.T) {
	sandbox := fresh(t)
	interpreter := sandbox.CodeInterpreter
	made, err := interpreter.CreateContext(background, pointer("/tmp"))
	check(t, err)
	id := made["id"].(string)
	equal(t, "its folder", made["cwd"].(string), "/tmp")
	interpret(t, sandbox, "x = 'default'")
	result := interpret(t, sandbox, "import os\nx = 'own'\nprint(os.getcwd())", options.WithCustomContext(id))
	equal(t, "the output", result.Stdout, "/tmp\n")
	equal(t, "the other's value", interpret(t, sandbox, "print(x)").Stdout, "default\n")
	contexts, err := interpreter.ListContexts(background)
	check(t, err)
	var ids []string
	for _, context := range contexts {
		ids = append(ids, context["id"].(string))
	}
	equal(t, "whether it is listed", strings.Contains(strings.Join(ids, " "), id), true)
	check(t, interpreter.DeleteContext(background, id))
	refused(t, 404, interpreter.DeleteContext(background, id))
	if interpret(t, sandbox, "print(1)", options.WithCustomContext(id)).Error == nil {
		t.Fatal("a deleted context runs code")
	}
}

func TestLargeOutputOfTheInterpreterArrivesWhole(t *testing.T) {
	sandbox := fresh(t)
	result := interpret(t, sandbox, "for n in range(50000): print(n)")
	equal(t, "its lines", strings.Count(result.Stdout, "\n"), 50000)
	equal(t, "its end", strings.HasSuffix(result.Stdout, "\n49999\n"), true)
}
