package conformance

import (
	"testing"

	"github.com/daytona/clients/sdk-go/pkg/daytona"
	"github.com/daytona/clients/sdk-go/pkg/options"
	"github.com/daytona/clients/sdk-go/pkg/types"
)

func TestASandboxLivesAndEnds(t *testing.T) {
	t.Parallel()
	name := unique()
	sandbox := create(t, types.SnapshotParams{
		Snapshot: "default",
		SandboxBaseParams: types.SandboxBaseParams{
			Name:                name,
			EnvVars:             map[string]string{"A": "1"},
			Labels:              map[string]string{"mine": name},
			AutoStopInterval:    pointer(30),
			AutoArchiveInterval: pointer(60),
			AutoDeleteInterval:  pointer(90),
		},
	})
	equal(t, "the state", string(sandbox.State), "started")
	equal(t, "the name", sandbox.Name, name)
	equal(t, "the intervals", [2]int{sandbox.AutoArchiveInterval, sandbox.AutoDeleteInterval}, [2]int{60, 90})

	for _, by := range []string{sandbox.ID, name} {
		found, err := client.Get(background, by)
		check(t, err)
		equal(t, "what is found", found.ID, sandbox.ID)
		equal(t, "what it runs", run(t, found, "echo $A"), "1\n")
	}

	upload(t, sandbox, "kept", "file")
	check(t, sandbox.Stop(background))
	equal(t, "the state", string(sandbox.State), "stopped")
	check(t, sandbox.Start(background))
	equal(t, "the state", string(sandbox.State), "started")
	equal(t, "the file", download(t, sandbox, "file"), "kept")
	check(t, forceStop(sandbox))
	check(t, sandbox.RefreshData(background))
	equal(t, "the state", string(sandbox.State), "stopped")

	check(t, sandbox.Delete(background))
	eventually(t, "the end of the sandbox", func() bool {
		found, err := client.Get(background, sandbox.ID)
		return err != nil && statusOf(err) == 404 || err == nil && found.State == "destroyed"
	})
	_, err := client.Get(background, name)
	refused(t, 404, err)
}

func TestASandboxWithoutParametersRunsWithTheDefaults(t *testing.T) {
	sandbox := fresh(t)
	equal(t, "the state", string(sandbox.State), "started")
	home, err := sandbox.GetUserHomeDir(background)
	check(t, err)
	equal(t, "the home", home, "/home/daytona")
	folder, err := sandbox.GetWorkingDir(background)
	check(t, err)
	equal(t, "the folder", folder, "/home/daytona")
	equal(t, "the user", run(t, sandbox, "id -un"), "daytona\n")
}

func TestAnImageCanBeNamedWithItsSizes(t *testing.T) {
	t.Parallel()
	sandbox := create(t, types.ImageParams{Image: tinyImage, Resources: &types.Resources{CPU: 1, Memory: 2, Disk: 4}})
	equal(t, "what it runs", run(t, sandbox, "echo inside"), "inside\n")
}

func TestLabelsAreReplacedAsAWholeAndFoundByList(t *testing.T) {
	t.Parallel()
	word := unique()
	var ids []string
	for range 3 {
		ids = append(ids, create(t, types.SnapshotParams{SandboxBaseParams: types.SandboxBaseParams{
			Labels: map[string]string{"mine": word, "old": "x"},
		}}).ID)
	}
	found := list(t, map[string]string{"mine": word}, 2)
	equal(t, "how many were found", len(found), 3)
	equal(t, "what a list item runs", run(t, found[0], "echo listed"), "listed\n")
	equal(t, "how many have another label", len(list(t, map[string]string{"mine": word, "old": "y"}, 2)), 0)

	changed, err := client.Get(background, ids[1])
	check(t, err)
	check(t, changed.SetLabels(background, map[string]string{"mine": word, "more": "ä"}))
	found = list(t, map[string]string{"more": "ä", "mine": word}, 2)
	equal(t, "how many were found", len(found), 1)
	equal(t, "what is found", found[0].ID, ids[1])
	equal(t, "how many have the old label", len(list(t, map[string]string{"mine": word, "old": "x"}, 5)), 2)
}

func TestIntervalsAreSetAndKept(t *testing.T) {
	sandbox := fresh(t)
	check(t, sandbox.SetAutoArchiveInterval(background, pointer(120)))
	check(t, sandbox.SetAutoDeleteInterval(background, pointer(240)))
	equal(t, "the intervals", [2]int{sandbox.AutoArchiveInterval, sandbox.AutoDeleteInterval}, [2]int{120, 240})
	check(t, sandbox.SetAutoDeleteInterval(background, pointer(-1)))
	found, err := client.Get(background, sandbox.ID)
	check(t, err)
	equal(t, "the intervals", [2]int{found.AutoArchiveInterval, found.AutoDeleteInterval}, [2]int{120, -1})
}

func TestAnEphemeralSandboxIsGoneOnceItIsStopped(t *testing.T) {
	t.Parallel()
	sandbox := create(t, types.SnapshotParams{SandboxBaseParams: types.SandboxBaseParams{Ephemeral: true}})
	// Older releases wait for a sandbox that is stopped, and do not find it any more.
	if err := sandbox.Stop(background); err != nil {
		refused(t, 404, err)
	}
	eventually(t, "the end of the sandbox", func() bool {
		_, err := client.Get(background, sandbox.ID)
		return statusOf(err) == 404
	})
}

func TestAStoppedSandboxIsArchivedAndComesBack(t *testing.T) {
	sandbox := fresh(t)
	upload(t, sandbox, "kept", "file")
	check(t, sandbox.Stop(background))
	check(t, sandbox.Archive(background))
	eventually(t, "the archive", func() bool {
		check(t, sandbox.RefreshData(background))
		return sandbox.State == "archived"
	})
	check(t, sandbox.Start(background))
	equal(t, "the file", download(t, sandbox, "file"), "kept")
}

func TestAnotherRegionThanTheServersIsRefused(t *testing.T) {
	t.Parallel()
	other, err := daytona.NewClientWithConfig(&types.DaytonaConfig{Target: "mars"})
	check(t, err)
	_, err = other.Create(background, types.SnapshotParams{})
	if err == nil {
		t.Fatal("was not refused")
	}
}

func TestASandboxWithoutNetworkSaysSo(t *testing.T) {
	t.Parallel()
	sandbox := create(t, types.SnapshotParams{SandboxBaseParams: types.SandboxBaseParams{NetworkBlockAll: true}})
	check(t, sandbox.RefreshData(background))
	answer, err := sandbox.Process.ExecuteCommand(background, "getent hosts example.com", options.WithCwd("/tmp"))
	check(t, err)
	if answer.ExitCode == 0 {
		t.Fatalf("a name was resolved: %s", answer.Result)
	}
}
