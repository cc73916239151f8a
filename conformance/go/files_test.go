package conformance

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/daytona/clients/sdk-go/pkg/daytona"
	"github.com/daytona/clients/sdk-go/pkg/options"
	"github.com/daytona/clients/sdk-go/pkg/types"
)

func TestAFileComesBackAsItWasSent(t *testing.T) {
	sandbox := fresh(t)
	for name, content := range map[string][]byte{
		"plain.bin":          noise(300_000),
		"with space ä ☃ +&?": []byte("text"),
		"deep/er/file.json":  []byte("{\"a\": 1}"),
	} {
		check(t, sandbox.FileSystem.UploadFile(background, content, name))
		back, err := sandbox.FileSystem.DownloadFile(background, name, nil)
		check(t, err)
		equal(t, "whether "+name+" is the same", bytes.Equal(back, content), true)
	}
}

func TestAnEmptyFileIsUploadedAndReplacesAnother(t *testing.T) {
	sandbox := fresh(t)
	upload(t, sandbox, "old", "file")
	upload(t, sandbox, "", "file")
	// It cannot be downloaded whole: the client takes an answer without bytes for none.
	equal(t, "its size", run(t, sandbox, "stat -c %s file"), "0\n")
}

func TestFilesGoFromAndToLocalPaths(t *testing.T) {
	sandbox := fresh(t)
	source, target := filepath.Join(t.TempDir(), "source"), filepath.Join(t.TempDir(), "target")
	write(t, source, "local\n")
	check(t, sandbox.FileSystem.UploadFile(background, source, "/tmp/sent"))
	equal(t, "what is there", run(t, sandbox, "cat /tmp/sent"), "local\n")
	_, err := sandbox.FileSystem.DownloadFile(background, "/tmp/sent", &target)
	check(t, err)
	back, err := os.ReadFile(target)
	check(t, err)
	equal(t, "what came back", string(back), "local\n")
}

func TestAListingDescribesEveryEntry(t *testing.T) {
	sandbox := fresh(t)
	files := sandbox.FileSystem
	check(t, files.CreateFolder(background, "folder/deep", options.WithMode("0750")))
	upload(t, sandbox, "12345", "folder/file")
	listed, err := files.ListFiles(background, "folder")
	check(t, err)
	slices.SortFunc(listed, func(a, b *types.FileInfo) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	equal(t, "how many there are", len(listed), 2)
	equal(t, "the folder", [2]any{listed[0].Name, listed[0].IsDirectory}, [2]any{"deep", true})
	equal(t, "the file", [3]any{listed[1].Name, listed[1].IsDirectory, listed[1].Size}, [3]any{"file", false, int64(5)})
	equal(t, "whether it has a time", listed[1].ModifiedTime.IsZero(), false)
	info, err := files.GetFileInfo(background, "folder/file")
	check(t, err)
	equal(t, "its name and size", [2]any{info.Name, info.Size}, [2]any{"file", int64(5)})
	equal(t, "the mode of the folder", run(t, sandbox, "stat -c %a folder/deep"), "750\n")
}

func TestFilesAreMovedDeletedAndGivenAway(t *testing.T) {
	sandbox := fresh(t)
	files := sandbox.FileSystem
	upload(t, sandbox, "x", "one")
	check(t, files.SetFilePermissions(background, "one", options.WithPermissionMode("0640")))
	equal(t, "the mode", run(t, sandbox, "stat -c %a one"), "640\n")
	check(t, files.SetFilePermissions(background, "one", options.WithPermissionMode("600"), options.WithOwner("daytona"), options.WithGroup("daytona")))
	equal(t, "the mode and the owner", run(t, sandbox, "stat -c '%a %U %G' one"), "600 daytona daytona\n")
	refused(t, 400, files.SetFilePermissions(background, "one", options.WithPermissionMode("nonsense")))
	check(t, files.MoveFiles(background, "one", "two"))
	equal(t, "what has moved", download(t, sandbox, "two"), "x")
	check(t, files.DeleteFile(background, "two", false))
	_, err := files.GetFileInfo(background, "two")
	refused(t, 404, err)
	upload(t, sandbox, "x", "folder/file")
	if err := files.DeleteFile(background, "folder", false); err == nil {
		t.Fatal("a folder with files was deleted as if it were a file")
	}
	check(t, files.DeleteFile(background, "folder", true))
	refused(t, 404, files.MoveFiles(background, "folder", "elsewhere"))
}

func TestFilesAreSearchedAndReplaced(t *testing.T) {
	sandbox := fresh(t)
	files := sandbox.FileSystem
	upload(t, sandbox, "one needle\ntwo\nneedle needle\n", "tree/a.txt")
	upload(t, sandbox, "nothing\n", "tree/deep/b.txt")
	found, err := files.SearchFiles(background, "tree", "*.txt")
	check(t, err)
	names := found.(map[string]any)["files"].([]string)
	slices.Sort(names)
	equal(t, "how many there are", len(names), 2)
	equal(t, "the ends of their paths", [2]string{filepath.Base(names[0]), filepath.Base(names[1])}, [2]string{"a.txt", "b.txt"})
	matches, err := files.FindFiles(background, "tree", "needle")
	check(t, err)
	lines := matches.([]map[string]any)
	equal(t, "how many lines match", len(lines), 2)
	equal(t, "the first", [2]any{lines[0]["line"], lines[0]["content"]}, [2]any{int32(1), "one needle"})

	changed, err := files.ReplaceInFiles(background, []string{"tree/a.txt", "tree/missing"}, "needle", "pin")
	check(t, err)
	results := changed.([]map[string]any)
	equal(t, "how many results there are", len(results), 2)
	equal(t, "what went well", [2]any{results[0]["success"], results[1]["success"]}, [2]any{true, false})
	if results[1]["error"] == "" || results[1]["error"] == nil {
		t.Fatalf("the failure has no reason: %v", results[1])
	}
	equal(t, "the file", download(t, sandbox, "tree/a.txt"), "one pin\ntwo\npin pin\n")
}

func TestFailuresOfFilesHaveTheirStatus(t *testing.T) {
	sandbox := fresh(t)
	files := sandbox.FileSystem
	_, err := files.ListFiles(background, "missing")
	refused(t, 404, err)
	_, err = files.DownloadFile(background, "/tmp", nil)
	refused(t, 400, err)
	run(t, sandbox, "sudo sh -c 'echo x > /root-only && chmod 600 /root-only'")
	_, err = files.DownloadFile(background, "/root-only", nil)
	refused(t, 403, err)
	if err := files.UploadFile(background, []byte("x"), "/root-only"); err == nil {
		t.Fatal("a file of somebody else was overwritten")
	}
}

func TestLanguageServersCompleteAndDescribe(t *testing.T) {
	sandbox := fresh(t)
	upload(t, sandbox, `import os

class Greeter:
    def greet(self, name):
        return os.path

Greeter().gr
`, "project/greeter.py")
	folder := "/home/daytona/project"
	server := daytona.NewLspServerService(sandbox.ToolboxClient, types.LspLanguagePython, folder, nil)
	check(t, server.Start(background))
	path := folder + "/greeter.py"
	check(t, server.DidOpen(background, path))
	// The client exchanges the two on the wire: this is line 6, character 12.
	found, err := server.Completions(background, path, types.Position{Line: 12, Character: 6})
	check(t, err)
	equal(t, "the completions", labels(t, found), []string{"greet(name)"})
	symbols, err := server.DocumentSymbols(background, path)
	check(t, err)
	equal(t, "the symbols", names(t, symbols), []string{"os", "Greeter", "greet"})
	check(t, server.DidClose(background, path))
	check(t, server.Stop(background))
	equal(t, "what runs on", run(t, sandbox, "pgrep -a pylsp || true"), "")
}
