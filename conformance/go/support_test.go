// Package conformance runs the official Go client, unmodified, against the server that the environment names.
//
// One suite serves all releases: run.sh compiles it for an older one with that one's import path. What differs between
// releases so that it does not compile stands in newest_test.go and older_test.go; what a release does not have is
// skipped by since.
package conformance

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/daytona/clients/sdk-go/pkg/daytona"
	"github.com/daytona/clients/sdk-go/pkg/options"
	"github.com/daytona/clients/sdk-go/pkg/types"
	toolbox "github.com/daytona/clients/toolbox-api-client-go"
)

const unknownID = "00000000-0000-4000-8000-000000000000"

// How long a test waits for what comes by itself.
const patience = time.Minute

var (
	background = context.Background()
	client     *daytona.Client
	// The tiny image in the registry of this run.
	tinyImage = os.Getenv("CONFORMANCE_IMAGE")
)

func TestMain(m *testing.M) {
	for _, variable := range []string{"DAYTONA_API_URL", "DAYTONA_API_KEY", "CONFORMANCE_IMAGE"} {
		if os.Getenv(variable) == "" {
			fmt.Fprintln(os.Stderr, variable, "is not set: run the tests by conformance/run.sh")
			os.Exit(2)
		}
	}
	fmt.Println("sdk-go", daytona.Version)
	var err error
	if client, err = daytona.NewClient(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	_ = client.Close(background)
	os.Exit(status)
}

// since skips a test for releases that do not have what it tests. All releases here are 0.MINOR.
func since(t *testing.T, wanted int) {
	t.Helper()
	if minor(t) < wanted {
		t.Skipf("the client has it since 0.%d", wanted)
	}
}

func minor(t *testing.T) int {
	t.Helper()
	number, err := strconv.Atoi(strings.Split(strings.TrimPrefix(daytona.Version, "v"), ".")[1])
	check(t, err)
	return number
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("failed: %v", err)
	}
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s is %#v and not %#v", what, got, want)
	}
}

// refused wants an error of this status, which says a reason.
func refused(t *testing.T, status int, err error) {
	t.Helper()
	if err == nil {
		t.Fatalf("was not refused, but %d was expected", status)
	}
	if got := statusOf(err); got != status {
		t.Fatalf("was refused with %d and not %d: %v", got, status, err)
	}
	if strings.HasSuffix(strings.TrimSpace(err.Error()), ":") {
		t.Fatalf("no reason was given: %v", err)
	}
}

// eventually waits for something that comes by itself.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come within %v", what, patience)
		}
	}
}

// A word that no other test uses.
func unique() string {
	var word [6]byte
	_, _ = rand.Read(word[:])
	return "t-" + hex.EncodeToString(word[:])
}

// create makes a sandbox that is gone after the test.
func create(t *testing.T, params any, opts ...func(*options.CreateSandbox)) *daytona.Sandbox {
	t.Helper()
	sandbox, err := client.Create(background, params, opts...)
	check(t, err)
	t.Cleanup(func() {
		if err := sandbox.Delete(background); err != nil && statusOf(err) != 404 {
			t.Errorf("cannot delete the sandbox: %v", err)
		}
	})
	return sandbox
}

func fresh(t *testing.T) *daytona.Sandbox {
	t.Helper()
	t.Parallel()
	return create(t, types.SnapshotParams{})
}

// run wants a command to succeed, and answers what it wrote.
func run(t *testing.T, sandbox *daytona.Sandbox, command string, opts ...func(*options.ExecuteCommand)) string {
	t.Helper()
	answer, err := sandbox.Process.ExecuteCommand(background, command, opts...)
	check(t, err)
	if answer.ExitCode != 0 {
		t.Fatalf("%s ended with %d: %s", command, answer.ExitCode, answer.Result)
	}
	return answer.Result
}

func upload(t *testing.T, sandbox *daytona.Sandbox, text, path string) {
	t.Helper()
	check(t, sandbox.FileSystem.UploadFile(background, []byte(text), path))
}

func download(t *testing.T, sandbox *daytona.Sandbox, path string) string {
	t.Helper()
	content, err := sandbox.FileSystem.DownloadFile(background, path, nil)
	check(t, err)
	return string(content)
}

// begin starts a command in a session without waiting for it.
func begin(t *testing.T, sandbox *daytona.Sandbox, session, command string) string {
	t.Helper()
	answer, err := sandbox.Process.ExecuteSessionCommand(background, session, command, true, true)
	check(t, err)
	if code, is := answer["exitCode"]; is {
		t.Fatalf("a command that was only begun has ended with %v", code)
	}
	return answer["id"].(string)
}

// ends waits for the end of a command, and answers its exit code.
func ends(t *testing.T, sandbox *daytona.Sandbox, session, command string) int {
	t.Helper()
	var code any
	eventually(t, "the end of the command", func() bool {
		answer, err := sandbox.Process.GetSessionCommand(background, session, command)
		check(t, err)
		code = answer["exitCode"]
		return code != nil
	})
	return int(code.(int32))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	check(t, os.WriteFile(path, []byte(text), 0o644))
}

// noise is so many bytes that do not repeat soon.
func noise(size int) []byte {
	var text bytes.Buffer
	for number := 0; text.Len() < size; number++ {
		fmt.Fprintf(&text, "%d \x00\xff\n", number)
	}
	return text.Bytes()[:size]
}

func pointer[T any](value T) *T { return &value }

func mkdir(path string) error { return os.MkdirAll(path, 0o755) }

func labels(t *testing.T, completions any) []string {
	t.Helper()
	var found []string
	for _, item := range completions.(*toolbox.CompletionList).GetItems() {
		found = append(found, item.GetLabel())
	}
	return found
}

func names(t *testing.T, symbols []any) []string {
	t.Helper()
	var found []string
	for _, symbol := range symbols {
		found = append(found, symbol.(toolbox.LspSymbol).Name)
	}
	return found
}

func of(snapshot string) types.SnapshotParams { return types.SnapshotParams{Snapshot: snapshot} }

// split sorts a text with markers by stream.
func split(text string) (string, string) {
	var out, err strings.Builder
	into := &strings.Builder{}
	for text != "" {
		switch {
		case strings.HasPrefix(text, "\x01\x01\x01"):
			into, text = &out, text[3:]
		case strings.HasPrefix(text, "\x02\x02\x02"):
			into, text = &err, text[3:]
		default:
			into.WriteByte(text[0])
			text = text[1:]
		}
	}
	return out.String(), err.String()
}
