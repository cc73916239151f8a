//go:build !older

package conformance

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	apiclient "github.com/daytona/clients/api-client-go"
	"github.com/daytona/clients/sdk-go/pkg/daytona"
	sdk "github.com/daytona/clients/sdk-go/pkg/errors"
	"github.com/daytona/clients/sdk-go/pkg/options"
	"github.com/daytona/clients/sdk-go/pkg/types"
)

func TestFailuresCanBeToldApartByTheirCode(t *testing.T) {
	sandbox := served(t)
	_, err := sandbox.FileSystem.DownloadFile(background, "missing", nil)
	is(t, err, sdk.ErrFileNotFound)
	is(t, err, sdk.ErrNotFound)
	is(t, sandbox.Git.Clone(background, repository, "a"), sdk.ErrGitAuthFailed)
	_, err = sandbox.Git.Status(background, "missing")
	is(t, err, sdk.ErrGitRepoNotFound)
	_, err = sandbox.Process.ExecuteCommand(background, "sleep 4242", options.WithExecuteTimeout(time.Second))
	is(t, err, sdk.ErrProcessExecutionTimeout)
	server := sandbox.CreateLspServer(types.LspLanguagePython, "/home/daytona")
	is(t, server.DidOpen(background, "/home/daytona/a.py"), sdk.ErrLspServerNotInitialized)
}

func is(t *testing.T, err, wanted error) {
	t.Helper()
	if !errors.Is(err, wanted) {
		t.Fatalf("%+v is not %+v", err, wanted)
	}
}

func TestAnUploadIsAStream(t *testing.T) {
	sandbox := fresh(t)
	content := noise(20_000_000)
	var sent int64
	progress := daytona.WithUploadProgress(func(told daytona.UploadProgress) { sent = told.BytesSent })
	// Neither length nor end are known before.
	reader, writer := io.Pipe()
	go func() {
		_, err := writer.Write(content)
		_ = writer.CloseWithError(err)
	}()
	check(t, sandbox.FileSystem.UploadFileStream(background, reader, "folder/big", progress))
	equal(t, "what was told of it", sent, int64(len(content)))
	var got int64
	stream, err := sandbox.FileSystem.DownloadFileStream(background, "folder/big",
		daytona.WithDownloadProgress(func(told daytona.DownloadProgress) {
			got = told.BytesReceived
			equal(t, "the size that is told", told.TotalBytes, int64(len(content)))
		}))
	check(t, err)
	back, err := io.ReadAll(stream)
	check(t, err)
	check(t, stream.Close())
	equal(t, "what was told of it", got, int64(len(content)))
	equal(t, "whether it is the same", bytes.Equal(back, content), true)
}

func TestAListingCanGoDeeper(t *testing.T) {
	sandbox := fresh(t)
	upload(t, sandbox, "", "tree/deep/er/file")
	listed, err := sandbox.FileSystem.ListFiles(background, "tree", options.WithDepth(2))
	check(t, err)
	var paths []string
	for _, file := range listed {
		paths = append(paths, file.Path)
	}
	equal(t, "how many there are", len(paths), 2)
}

func TestAFileGoesUpAndDownBySignedURLsUntilTheKeyIsChanged(t *testing.T) {
	sandbox := fresh(t)
	up, err := sandbox.UploadURL(background, "/tmp/with space ä", nil)
	check(t, err)
	var form bytes.Buffer
	writer := multipart.NewWriter(&form)
	part, err := writer.CreateFormFile("file", "x")
	check(t, err)
	_, _ = part.Write([]byte("signed\n"))
	check(t, writer.Close())
	answer, err := http.Post(up, writer.FormDataContentType(), &form)
	check(t, err)
	answer.Body.Close()
	equal(t, "the status of the upload", answer.StatusCode, 200)
	down, err := sandbox.DownloadURL(background, "/tmp/with space ä", pointer(600))
	check(t, err)
	get := func() (int, string) {
		answer, err := http.Get(down)
		check(t, err)
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		check(t, err)
		return answer.StatusCode, string(body)
	}
	status, body := get()
	equal(t, "the file", [2]any{status, body}, [2]any{200, "signed\n"})
	check(t, sandbox.RotateSigningKey(background))
	status, _ = get()
	equal(t, "the status afterwards", status, 401)
}

func TestEachFilterKeepsAndLeavesOut(t *testing.T) {
	t.Parallel()
	word := unique()
	var ids []string
	for _, public := range []bool{false, true} {
		ids = append(ids, create(t, types.SnapshotParams{SandboxBaseParams: types.SandboxBaseParams{
			Name: word + map[bool]string{false: "-a", true: "-b"}[public], Public: public,
		}}).ID)
	}
	ask := func(query daytona.ListSandboxesQuery) []string {
		query.Name = &word
		var found []string
		for sandbox, err := range client.ListSeq(background, &query) {
			check(t, err)
			found = append(found, sandbox.ID)
		}
		return found
	}
	equal(t, "all in order", ask(daytona.ListSandboxesQuery{
		Sort: pointer(apiclient.SANDBOXLISTSORTFIELD_NAME), Order: pointer(apiclient.SANDBOXLISTSORTDIRECTION_ASC),
	}), ids)
	equal(t, "those that are public", ask(daytona.ListSandboxesQuery{IsPublic: pointer(true)}), ids[1:])
	equal(t, "those that are stopped", len(ask(daytona.ListSandboxesQuery{States: []apiclient.SandboxState{"stopped"}})), 0)
	equal(t, "those that are started", len(ask(daytona.ListSandboxesQuery{States: []apiclient.SandboxState{"started", "stopped"}})), 2)
	equal(t, "those of the future", len(ask(daytona.ListSandboxesQuery{CreatedAtAfter: pointer(time.Now().Add(time.Hour))})), 0)
	equal(t, "those of another snapshot", len(ask(daytona.ListSandboxesQuery{Snapshots: []string{"other"}})), 0)
	equal(t, "those with many processors", len(ask(daytona.ListSandboxesQuery{MinCpu: pointer(64)})), 0)
}

func TestAllThatIsKnownOfASandboxIsThere(t *testing.T) {
	t.Parallel()
	sandbox := create(t, types.SnapshotParams{SandboxBaseParams: types.SandboxBaseParams{
		TtlMinutes: pointer(60), EnvVars: map[string]string{"A": "1"}, DomainAllowList: pointer("example.com"),
	}})
	check(t, sandbox.RefreshData(background))
	equal(t, "its snapshot", *sandbox.Snapshot, "default")
	equal(t, "its variables", sandbox.Env, map[string]string{"A": "1"})
	equal(t, "its domains", *sandbox.DomainAllowList, "example.com")
	equal(t, "whether it has an end", sandbox.AutoDestroyAt != nil, true)
	equal(t, "its user", sandbox.User, "daytona")
	equal(t, "whether its sizes are told", sandbox.Cpu > 0 && sandbox.Memory > 0 && sandbox.Disk > 0, true)
	metrics, err := sandbox.GetMetricsLatest(background)
	check(t, err)
	equal(t, "whether its memory is told", metrics.MemTotal > 0, true)
}

func TestVariablesOfARunningSandboxAreChanged(t *testing.T) {
	sandbox := fresh(t)
	check(t, sandbox.UpdateEnv(background, map[string]string{"A": "1", "B": "2"}, nil))
	equal(t, "the variables", run(t, sandbox, "echo $A$B"), "12\n")
	check(t, sandbox.UpdateEnv(background, nil, []string{"A"}))
	equal(t, "the variables", run(t, sandbox, "echo $A$B"), "2\n")
}

func TestASandboxIsPausedAndComesBack(t *testing.T) {
	sandbox := fresh(t)
	err := sandbox.Pause(background)
	if err != nil && statusOf(err) == 400 {
		t.Skipf("this host cannot pause: %v", err)
	}
	check(t, err)
	equal(t, "the state", string(sandbox.State), "paused")
	check(t, sandbox.Start(background))
	equal(t, "what it runs", run(t, sandbox, "echo back"), "back\n")
}

func TestARepositoryIsMadeWithoutAServer(t *testing.T) {
	sandbox := fresh(t)
	git := sandbox.Git
	check(t, git.Init(background, "r", options.WithInitialBranch("trunk")))
	check(t, git.ConfigureUser(background, "Ada", "ada@example.com"))
	name, err := git.GetConfig(background, "user.name")
	check(t, err)
	equal(t, "the name", name, "Ada")
	check(t, git.SetConfig(background, "core.x", "1", options.WithConfigScope("local"), options.WithConfigPath("r")))
	for _, text := range []string{"one\n", "two\n"} {
		upload(t, sandbox, text, "r/file")
		check(t, git.Add(background, "r", []string{"."}))
		_, err := git.Commit(background, "r", "m", "Ada", "ada@example.com")
		check(t, err)
	}
	status, err := git.Status(background, "r")
	check(t, err)
	equal(t, "the branch", [2]any{status.CurrentBranch, status.Detached}, [2]any{"trunk", false})
	check(t, git.Reset(background, "r", options.WithResetMode("hard"), options.WithResetTarget("HEAD~1")))
	equal(t, "the file", download(t, sandbox, "r/file"), "one\n")
	upload(t, sandbox, "three\n", "r/file")
	check(t, git.Restore(background, "r", []string{"file"}))
	equal(t, "the file", download(t, sandbox, "r/file"), "one\n")
	check(t, git.RemoteAdd(background, "r", "origin", "https://example.com/a.git"))
	check(t, git.RemoteAdd(background, "r", "origin", "https://example.com/b.git", options.WithRemoteOverwrite(true)))
	remotes, err := git.Remotes(background, "r")
	check(t, err)
	equal(t, "the remotes", remotes, []types.GitRemote{{Name: "origin", URL: "https://example.com/b.git"}})
}

func TestStoredCredentialsServeEverythingAfter(t *testing.T) {
	sandbox := served(t)
	git := sandbox.Git
	check(t, git.DangerouslyAuthenticate(background, "ada", "pass word", options.WithAuthHost("127.0.0.1:8090"), options.WithAuthProtocol("http")))
	check(t, git.Clone(background, repository, "a", options.WithCloneDepth(1)))
	check(t, git.CreateBranch(background, "a", "topic"))
	check(t, git.Push(background, "a", options.WithSetUpstream(true)))
	status, err := git.Status(background, "a")
	check(t, err)
	equal(t, "what it follows", status.Upstream, "origin/topic")
}

// latePolls is a client of a server whose polls are useless: late-polls.py stands before it.
func latePolls(t *testing.T, more ...string) *daytona.Client {
	t.Helper()
	command := exec.Command("python3", append([]string{"../late-polls.py", os.Getenv("DAYTONA_API_URL")}, more...)...)
	input, err := command.StdinPipe()
	check(t, err)
	output, err := command.StdoutPipe()
	check(t, err)
	check(t, command.Start())
	t.Cleanup(func() {
		_ = input.Close()
		_ = command.Wait()
	})
	address, err := bufio.NewReader(output).ReadString('\n')
	check(t, err)
	other, err := daytona.NewClientWithConfig(&types.DaytonaConfig{APIUrl: strings.TrimSpace(address)})
	check(t, err)
	t.Cleanup(func() { _ = other.Close(background) })
	return other
}

func TestAStartIsToldByEventsWherePollsTellNothing(t *testing.T) {
	sandbox := fresh(t)
	check(t, sandbox.Stop(background))
	found, err := latePolls(t).Get(background, sandbox.ID)
	check(t, err)
	check(t, found.StartWithTimeout(background, patience))
	check(t, sandbox.RefreshData(background))
	equal(t, "the state", string(sandbox.State), "started")
}

func TestWithoutEventsSuchAStartIsNotTold(t *testing.T) {
	sandbox := fresh(t)
	check(t, sandbox.Stop(background))
	found, err := latePolls(t, "--no-events").Get(background, sandbox.ID)
	check(t, err)
	if err := found.StartWithTimeout(background, 4*time.Second); err == nil {
		t.Fatal("a start was told by nobody")
	}
	check(t, sandbox.RefreshData(background))
	equal(t, "the state", string(sandbox.State), "stopped")
}

func TestTheServerCanBePolledWithoutEvents(t *testing.T) {
	t.Parallel()
	polling, err := daytona.NewClientWithConfig(&types.DaytonaConfig{UseDeprecatedPolling: pointer(true)})
	check(t, err)
	sandbox, err := polling.Create(background, types.SnapshotParams{})
	check(t, err)
	check(t, sandbox.Stop(background))
	check(t, sandbox.Start(background))
	check(t, sandbox.DeleteAndWait(background, patience))
}

func TestSizesAreChanged(t *testing.T) {
	sandbox := fresh(t)
	err := sandbox.Resize(background, &types.Resources{CPU: 2, Memory: 2})
	check(t, err)
	equal(t, "its sizes", [2]float32{sandbox.Cpu, sandbox.Memory}, [2]float32{2, 2})
}

func TestTheLanguageServerOfTypeScriptFindsSymbols(t *testing.T) {
	sandbox := fresh(t)
	upload(t, sandbox, "export class Greeter {\n  greet(name: string) { return name }\n}\nnew Greeter().gr\n", "web/greeter.ts")
	folder := "/home/daytona/web"
	server := daytona.NewLspServerService(sandbox.ToolboxClient, types.LspLanguageTypeScript, folder, nil)
	check(t, server.Start(background))
	check(t, server.DidOpen(background, folder+"/greeter.ts"))
	symbols, err := server.SandboxSymbols(background, "Greeter")
	check(t, err)
	equal(t, "whether the class is found", slices.Contains(names(t, symbols), "Greeter"), true)
	check(t, server.Stop(background))
}
