package conformance

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/daytona/clients/sdk-go/pkg/daytona"
	"github.com/daytona/clients/sdk-go/pkg/options"
	"github.com/daytona/clients/sdk-go/pkg/types"
)

// build makes a snapshot that is gone after the test, and reads its logs to their end.
func build(t *testing.T, params *types.CreateSnapshotParams) (*types.Snapshot, string) {
	t.Helper()
	params.Name = unique()
	limited, cancel := context.WithTimeout(background, 4*patience)
	defer cancel()
	made, logs, err := client.Snapshot.Create(limited, params)
	check(t, err)
	t.Cleanup(func() {
		if err := client.Snapshot.Delete(background, made); err != nil && statusOf(err) != 404 {
			t.Errorf("cannot delete the snapshot: %v", err)
		}
	})
	var text strings.Builder
	for line := range logs {
		text.WriteString(line + "\n")
	}
	made, err = client.Snapshot.Get(background, params.Name)
	check(t, err)
	return made, text.String()
}

func contains(t *testing.T, text, wanted string) {
	t.Helper()
	if !strings.Contains(text, wanted) {
		t.Fatalf("there is no %q in %q", wanted, text)
	}
}

func TestASnapshotOfAnImageIsMadeUsedAndDeleted(t *testing.T) {
	t.Parallel()
	made, logs := build(t, &types.CreateSnapshotParams{
		Image:      tinyImage,
		Resources:  &types.Resources{CPU: 1, Memory: 2, Disk: 4},
		Entrypoint: []string{"/bin/sh", "-c", "echo ran > /tmp/ran; sleep 1000"},
	})
	contains(t, logs, "Created snapshot "+made.Name)
	equal(t, "the state", made.State, "active")
	equal(t, "its sizes", [3]int{made.CPU, made.Memory, made.Disk}, [3]int{1, 2, 4})
	equal(t, "its image", made.ImageName, tinyImage)
	page, err := client.Snapshot.List(background, pointer(1), pointer(100))
	check(t, err)
	found := false
	for _, one := range page.Items {
		found = found || one.ID == made.ID
	}
	equal(t, "whether it is listed", found, true)
	sandbox := create(t, types.SnapshotParams{Snapshot: made.Name})
	eventually(t, "what its entrypoint does", func() bool {
		return run(t, sandbox, "cat /tmp/ran 2>/dev/null || true") == "ran\n"
	})
	check(t, client.Snapshot.Delete(background, made))
	eventually(t, "the end of the snapshot", func() bool {
		_, err := client.Snapshot.Get(background, made.Name)
		return statusOf(err) == 404
	})
}

func TestASnapshotIsBuiltFromTheImageBuilder(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write(t, filepath.Join(folder, "single.txt"), "one\n")
	app := filepath.Join(folder, "app")
	check(t, mkdir(filepath.Join(app, "deep")))
	write(t, filepath.Join(app, "deep", "b.txt"), "two\n")
	image := daytona.Base("default").
		Env("GREETING", "hello").
		Label("made.by", "a test").
		User("root").
		AddLocalFile(filepath.Join(folder, "single.txt"), "/opt/single.txt").
		AddLocalDir(app, "/opt/app").
		Run("mkdir /work && echo $GREETING > /work/greeting && chown -R daytona /work").
		Workdir("/work").
		User("daytona").
		Expose([]int{8080}).
		Volume([]string{"/data"}).
		Cmd([]string{"sleep", "1000"})
	made, logs := build(t, &types.CreateSnapshotParams{Image: image, Entrypoint: []string{"sleep", "2000"}})
	contains(t, logs, "Step 1/")
	contains(t, logs, "Created snapshot "+made.Name)
	equal(t, "the state", made.State, "active")
	sandbox := create(t, types.SnapshotParams{Snapshot: made.Name})
	equal(t, "what is in it", run(t, sandbox, "pwd; cat greeting /opt/single.txt /opt/app/deep/b.txt; id -un"),
		"/work\nhello\none\ntwo\ndaytona\n")
}

func TestASandboxIsBuiltFromTheImageBuilderAndItsLogsAreFollowed(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "file.txt")
	// The text is new in each run: a build that is known needs no second one, and has no logs to follow.
	word := unique()
	write(t, source, word)
	image := daytona.Base("default").AddLocalFile(source, "/tmp/file.txt").Run("echo from the build; sleep 2").Env("A", "1")
	logs := make(chan string, 1000)
	sandbox := create(t, types.ImageParams{Image: image, Resources: &types.Resources{CPU: 1, Memory: 1, Disk: 3}},
		options.WithLogChannel(logs), options.WithTimeout(4*patience))
	equal(t, "what is in it", run(t, sandbox, "cat /tmp/file.txt; echo $A"), word+"1\n")
	var text strings.Builder
	for line := range logs {
		text.WriteString(line + "\n")
	}
	contains(t, text.String(), "from the build")
}

func TestADockerfileIsBuilt(t *testing.T) {
	t.Parallel()
	made, logs := build(t, &types.CreateSnapshotParams{Image: daytona.FromDockerfile(
		"FROM default AS one\nRUN echo one > /tmp/1\nFROM default\nCOPY --from=one /tmp/1 /tmp/copied\n")})
	if made.ErrorReason != nil {
		t.Fatalf("it was not built: %s\n%s", *made.ErrorReason, logs)
	}
	sandbox := create(t, types.SnapshotParams{Snapshot: made.Name})
	equal(t, "what is in it", run(t, sandbox, "cat /tmp/copied"), "one\n")
}

func TestAFailedBuildSaysWhere(t *testing.T) {
	t.Parallel()
	made, logs := build(t, &types.CreateSnapshotParams{Image: daytona.Base("default").Run("echo because; exit 3")})
	equal(t, "the state", made.State, "build_failed")
	contains(t, logs, "exit code 3")
	if made.ErrorReason == nil {
		t.Fatal("there is no reason")
	}
	contains(t, *made.ErrorReason, "line 2")
	_, err := client.Create(background, types.ImageParams{Image: daytona.Base("default").Run("echo " + unique() + "; exit 4")},
		options.WithTimeout(2*patience))
	if err == nil {
		t.Fatal("a sandbox of an image that cannot be built was made")
	}
	contains(t, err.Error(), "failed")
}
