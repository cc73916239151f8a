//go:build !v0_145_0

package conformance

import (
	"bytes"
	"io"
	"testing"

	apiclient "github.com/daytona/clients/api-client-go"
	"github.com/daytona/clients/sdk-go/pkg/types"
)

func TestADownloadIsAStream(t *testing.T) {
	sandbox := fresh(t)
	for name, content := range map[string][]byte{"big": noise(20_000_000), "empty": {}, "with space ä": []byte("text")} {
		check(t, sandbox.FileSystem.UploadFile(background, content, name))
		stream, err := sandbox.FileSystem.DownloadFileStream(background, name)
		check(t, err)
		back, err := io.ReadAll(stream)
		check(t, err)
		check(t, stream.Close())
		equal(t, "whether "+name+" is the same", bytes.Equal(back, content), true)
	}
	_, err := sandbox.FileSystem.DownloadFileStream(background, "missing")
	refused(t, 404, err)
	run(t, sandbox, "sudo sh -c 'echo x > /root-only && chmod 600 /root-only'")
	_, err = sandbox.FileSystem.DownloadFileStream(background, "/root-only")
	refused(t, 403, err)
}

func TestASignedURLNeedsNothingElseUntilItIsEnded(t *testing.T) {
	sandbox := fresh(t)
	serves(t, sandbox)
	signed, err := sandbox.GetSignedPreviewLink(background, port, 600)
	check(t, err)
	equal(t, "what it is for", [2]any{signed.SandboxID, signed.Port}, [2]any{sandbox.ID, port})
	status, body := look(t, signed.URL, "")
	equal(t, "the page", [2]any{status, body}, [2]any{200, "inside\n"})
	check(t, sandbox.ExpireSignedPreviewLink(background, port, signed.Token))
	status, _ = look(t, signed.URL, "")
	equal(t, "the status afterwards", status, 401)
}

func TestTheNetworkIsClosedAndOpened(t *testing.T) {
	sandbox := fresh(t)
	check(t, sandbox.UpdateNetworkSettings(background, apiclient.UpdateSandboxNetworkSettings{NetworkAllowList: pointer("10.9.8.0/24")}))
	found, err := client.Get(background, sandbox.ID)
	check(t, err)
	equal(t, "the list", *found.NetworkAllowList, "10.9.8.0/24")
	refused(t, 400, sandbox.UpdateNetworkSettings(background, apiclient.UpdateSandboxNetworkSettings{NetworkAllowList: pointer("nonsense")}))
}

func TestTheMainProgramHasLogs(t *testing.T) {
	t.Parallel()
	made, _ := build(t, &types.CreateSnapshotParams{
		Image: tinyImage, Entrypoint: []string{"/bin/sh", "-c", "echo out; echo err >&2"},
	})
	sandbox := create(t, of(made.Name))
	eventually(t, "the end of the program", func() bool {
		session, err := sandbox.Process.GetEntrypointSession(background)
		check(t, err)
		return session.GetCommands()[0].ExitCode != nil
	})
	logs, err := sandbox.Process.GetEntrypointLogs(background)
	check(t, err)
	equal(t, "both streams", [2]string{logs.GetStdout(), logs.GetStderr()}, [2]string{"out\n", "err\n"})
	out, fault := streams(t, func(out, fault chan<- string) error {
		return sandbox.Process.GetEntrypointLogsStream(background, out, fault)
	}, nil)
	equal(t, "both streams", [2]string{out, fault}, [2]string{"out\n", "err\n"})
}

func TestASnapshotIsMadeOfASandboxAndASandboxIsForked(t *testing.T) {
	sandbox := fresh(t)
	upload(t, sandbox, "kept", "file")
	check(t, sandbox.Stop(background))
	name := unique()
	check(t, sandbox.ExperimentalCreateSnapshot(background, name))
	made, err := client.Snapshot.Get(background, name)
	check(t, err)
	t.Cleanup(func() { check(t, client.Snapshot.Delete(background, made)) })
	equal(t, "the state", made.State, "active")
	copied := create(t, of(name))
	equal(t, "what is in it", download(t, copied, "file"), "kept")

	forked, err := copied.ExperimentalFork(background, pointer(unique()))
	check(t, err)
	t.Cleanup(func() { check(t, forked.Delete(background)) })
	equal(t, "the state", string(forked.State), "started")
	equal(t, "what is in the fork", download(t, forked, "file"), "kept")
}

func TestChartsAreFoundInTheOutputOfCode(t *testing.T) {
	sandbox := fresh(t)
	if answer, err := sandbox.Process.ExecuteCommand(background, "python3 -c 'import matplotlib'"); err != nil || answer.ExitCode != 0 {
		t.Skip("the image has no matplotlib")
	}
	code := `import matplotlib.pyplot as plt
plt.plot([1, 2, 3], [4, 5, 6], label="line")
plt.title("A title")
plt.show()
print("shown")`
	answer, err := sandbox.Process.CodeRun(background, code)
	check(t, err)
	equal(t, "the output", answer.Result, "shown\n")
	equal(t, "the number of charts", len(answer.Artifacts.Charts), 1)
	chart := answer.Artifacts.Charts[0]
	equal(t, "the title", chart.GetTitle(), "A title")
}
