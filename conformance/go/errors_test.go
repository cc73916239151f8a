package conformance

import (
	"testing"

	"github.com/daytona/clients/sdk-go/pkg/daytona"
	"github.com/daytona/clients/sdk-go/pkg/types"
)

func TestFailuresHaveTheirStatusAndAReason(t *testing.T) {
	t.Parallel()
	name := unique()
	sandbox := create(t, types.SnapshotParams{SandboxBaseParams: types.SandboxBaseParams{Name: name}})
	_, err := client.Get(background, unknownID)
	refused(t, 404, err)
	_, err = client.Create(background, types.SnapshotParams{Snapshot: unique()})
	refused(t, 400, err)
	_, err = client.Create(background, types.SnapshotParams{SandboxBaseParams: types.SandboxBaseParams{Name: name}})
	refused(t, 409, err)
	_, err = client.Create(background, types.ImageParams{Image: tinyImage, Resources: &types.Resources{CPU: 100000}})
	refused(t, 400, err)
	_, err = client.Volume.Get(background, unique())
	refused(t, 404, err)
	_, err = client.Snapshot.Get(background, unique())
	refused(t, 404, err)
	_, err = sandbox.FileSystem.DownloadFile(background, "missing", nil)
	refused(t, 404, err)
	_, err = sandbox.Process.GetSession(background, "missing")
	refused(t, 404, err)
	_, err = sandbox.Process.ExecuteCommand(background, " ")
	refused(t, 400, err)
}

func TestAWrongKeyIsRefusedByTheServerAndTheSandbox(t *testing.T) {
	sandbox := fresh(t)
	other, err := daytona.NewClientWithConfig(&types.DaytonaConfig{APIKey: "wrong"})
	check(t, err)
	_, err = other.Get(background, sandbox.ID)
	refused(t, 401, err)
	headers := sandbox.ToolboxClient.GetConfig().DefaultHeader
	headers["Authorization"] = "Bearer wrong"
	_, err = sandbox.Process.ExecuteCommand(background, "true")
	refused(t, 401, err)
}
