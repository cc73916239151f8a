package own;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import java.util.Set;

import org.junit.jupiter.api.Test;

import own.api.SandboxApi;
import own.model.CreateSandbox;
import own.model.ListSandboxesResponse;
import own.model.Sandbox;
import own.model.SandboxLabels;
import own.model.SandboxState;

class LifecycleTest extends Support {
    @Test
    void aSandboxLivesAndEnds() throws Exception {
        String name = unique();
        Map<String, String> labels = Map.of("mine", name, "with space", "ä");
        CreateSandbox parameters = new CreateSandbox().name(name).env(Map.of("A", "1")).labels(labels);
        Sandbox sandbox = create(Client.stoppingAfter(parameters, 30));
        assertEquals(name, sandbox.getName());
        assertEquals(labels, sandbox.getLabels());
        assertEquals(30, sandbox.getAutoStopInterval().intValue());

        for (String by : List.of(sandbox.getId(), name)) {
            Sandbox found = sandboxes.getSandbox(by).execute();
            assertEquals(sandbox.getId(), found.getId());
            assertEquals("1\n", run(found, "echo $A"));
        }
        assertEquals(3, execute(sandbox, "sh -c 'exit 3'").getExitCode());

        upload(sandbox, "file", "kept");
        sandboxes.stopSandbox(sandbox.getId()).execute();
        reaches(sandbox, SandboxState.STOPPED);
        sandboxes.startSandbox(sandbox.getId()).execute();
        reaches(sandbox, SandboxState.STARTED);
        assertEquals("kept", run(sandbox, "cat file"));
        sandboxes.stopSandbox(sandbox.getId()).force(true).execute();
        reaches(sandbox, SandboxState.STOPPED);

        assertEquals(sandbox.getId(), sandboxes.deleteSandbox(sandbox.getId()).execute().getId());
        eventually("the end of the sandbox", () -> {
            try {
                return sandboxes.getSandbox(sandbox.getId()).execute().getState() == SandboxState.DESTROYED;
            } catch (ApiException refusal) {
                return refusal.getCode() == 404;
            }
        });
        refused(404, "not found", () -> sandboxes.getSandbox(name).execute());
    }

    @Test
    void aSandboxWithoutParametersRunsWithTheDefaults() throws Exception {
        Sandbox sandbox = create(new CreateSandbox());
        assertFalse(sandbox.getPublic());
        assertTrue(sandbox.getCpu().intValue() > 0);
        assertEquals("/home/daytona\n", run(sandbox, "pwd"));
    }

    @Test
    void bytesGoUpAndComeDownAsTheyAre() throws Exception {
        Sandbox sandbox = create(new CreateSandbox());
        byte[] all = new byte[256];
        for (int value = 0; value < all.length; value++) {
            all[value] = (byte) value;
        }
        upload(sandbox, "folder/all bytes", all);
        assertEquals("256\n", run(sandbox, "stat -c %s 'folder/all bytes'"));
        assertArrayEquals(all, download(sandbox, "folder/all bytes"));
    }

    @Test
    void sandboxesAreListedByLabelsAndByPage() throws Exception {
        String mine = unique();
        Sandbox one = create(new CreateSandbox().labels(Map.of("mine", mine)));
        Sandbox other = create(new CreateSandbox().labels(Map.of("mine", mine)));
        String labels = "{\"mine\":\"" + mine + "\"}";
        ListSandboxesResponse first = sandboxes.listSandboxes().labels(labels).limit(Client.number(1)).execute();
        assertEquals(1, first.getItems().size());
        ListSandboxesResponse second =
            sandboxes.listSandboxes().labels(labels).limit(Client.number(1)).cursor(first.getNextCursor()).execute();
        assertEquals(
            Set.of(one.getId(), other.getId()),
            Set.of(first.getItems().get(0).getId(), second.getItems().get(0).getId()));
        assertEquals(SandboxState.STARTED, second.getItems().get(0).getState());
        assertTrue(
            sandboxes.listSandboxes().labels(labels).states(List.of(SandboxState.STOPPED)).execute().getItems().isEmpty());
    }

    @Test
    void labelsAndTheTimeUntilAStopCanBeChanged() throws Exception {
        Sandbox sandbox = create(new CreateSandbox().labels(Map.of("before", "1")));
        Map<String, String> labels = Map.of("after", "2");
        assertEquals(
            labels, sandboxes.replaceLabels(sandbox.getId(), new SandboxLabels().labels(labels)).execute().getLabels());
        assertEquals(7, Client.stopAfter(sandboxes, sandbox, 7).getAutoStopInterval().intValue());
        Sandbox found = sandboxes.getSandbox(sandbox.getId()).execute();
        assertEquals(labels, found.getLabels());
        assertEquals(7, found.getAutoStopInterval().intValue());
    }

    @Test
    void anArchivedSandboxComesBackWithItsFiles() throws Exception {
        Sandbox sandbox = create(new CreateSandbox());
        upload(sandbox, "file", "kept");
        sandboxes.stopSandbox(sandbox.getId()).execute();
        reaches(sandbox, SandboxState.STOPPED);
        sandboxes.archiveSandbox(sandbox.getId()).execute();
        reaches(sandbox, SandboxState.ARCHIVED);
        sandboxes.startSandbox(sandbox.getId()).execute();
        reaches(sandbox, SandboxState.STARTED);
        assertEquals("kept", run(sandbox, "cat file"));
    }

    @Test
    void refusalsAreExceptionsWithStatusAndReason() throws Exception {
        Sandbox sandbox = create(new CreateSandbox().name(unique()));
        refused(404, "not found", () -> sandboxes.getSandbox(UNKNOWN_ID).execute());
        refused(409, sandbox.getName(), () -> sandboxes.createSandbox(new CreateSandbox().name(sandbox.getName())).execute());
        refused(400, "nonesuch", () -> sandboxes.createSandbox(new CreateSandbox().snapshot("nonesuch")).execute());
        refused(400, "autoStopInterval", () -> Client.stopAfter(sandboxes, sandbox, -1));
        SandboxApi stranger = new SandboxApi(Client.connect("wrong"));
        refused(401, "Unauthorized", () -> stranger.getSandbox(sandbox.getId()).execute());
        // The same on the way into the sandbox.
        toolbox.ApiClient client = toolbox(sandbox).addDefaultHeader("Authorization", "Bearer wrong");
        toolbox.ApiException refusal = assertThrows(
            toolbox.ApiException.class, () -> new toolbox.api.FileSystemApi(client).getFileInfo("/").execute());
        assertEquals(401, refusal.getCode());
    }
}
