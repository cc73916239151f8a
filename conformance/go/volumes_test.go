package conformance

import (
	"slices"
	"testing"

	"github.com/daytona/clients/sdk-go/pkg/types"
)

func volume(t *testing.T) *types.Volume {
	t.Helper()
	t.Parallel()
	return volumeOf(t)
}

func volumeOf(t *testing.T) *types.Volume {
	t.Helper()
	made, err := client.Volume.Create(background, unique())
	check(t, err)
	t.Cleanup(func() {
		var err error
		eventually(t, "the end of the volume", func() bool {
			// It is in use until its sandboxes have gone.
			err = client.Volume.Delete(background, made)
			return statusOf(err) != 409
		})
		// One that a test has deleted is still known by its id, and refused.
		if err != nil && statusOf(err) != 400 {
			t.Errorf("cannot delete the volume: %v", err)
		}
	})
	made, err = client.Volume.WaitForReady(background, made, patience)
	check(t, err)
	return made
}

func TestAVolumeIsMadeListedAndDeleted(t *testing.T) {
	made := volume(t)
	equal(t, "the state", made.State, "ready")
	found, err := client.Volume.Get(background, made.Name)
	check(t, err)
	equal(t, "what is found", found.ID, made.ID)
	all, err := client.Volume.List(background)
	check(t, err)
	equal(t, "whether it is listed", slices.ContainsFunc(all, func(one *types.Volume) bool { return one.ID == made.ID }), true)
	_, err = client.Volume.Create(background, made.Name)
	refused(t, 400, err)
	check(t, client.Volume.Delete(background, made))
	_, err = client.Volume.Get(background, made.Name)
	refused(t, 404, err)
}

func TestWhatOneSandboxWritesTheOtherReads(t *testing.T) {
	made := volume(t)
	mounted := func(path string, subpath *string) types.SnapshotParams {
		return types.SnapshotParams{SandboxBaseParams: types.SandboxBaseParams{
			Volumes: []types.VolumeMount{{VolumeID: made.ID, MountPath: path, Subpath: subpath}},
		}}
	}
	one := create(t, mounted("/home/daytona/volume", nil))
	other := create(t, mounted("/mnt/other", pointer("part")))
	upload(t, one, "one\n", "volume/part/file")
	equal(t, "what the other reads", run(t, other, "cat /mnt/other/file"), "one\n")
	refused(t, 409, client.Volume.Delete(background, made))
	check(t, one.Stop(background))
	check(t, one.Start(background))
	equal(t, "what is there after a start", download(t, one, "volume/part/file"), "one\n")
}
