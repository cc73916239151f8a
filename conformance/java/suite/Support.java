package own;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import java.io.File;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.Callable;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.function.Executable;

import own.api.SandboxApi;
import own.api.VolumesApi;
import own.model.CreateSandbox;
import own.model.CreateVolume;
import own.model.Sandbox;
import own.model.SandboxState;
import own.model.SandboxVolume;
import own.model.VolumeDto;
import own.model.VolumeState;
import toolbox.api.FileSystemApi;
import toolbox.api.ProcessApi;
import toolbox.model.ExecuteRequest;
import toolbox.model.ExecuteResponse;

/** What all tests need. What they make is deleted after each. */
abstract class Support {
    static final String UNKNOWN_ID = "00000000-0000-4000-8000-000000000000";
    /** How long a test waits for what comes by itself. */
    static final int PATIENCE_SECONDS = 60;

    final SandboxApi sandboxes = new SandboxApi(Client.connect(Client.KEY));
    final VolumesApi volumes = new VolumesApi(Client.connect(Client.KEY));
    private final List<String> madeSandboxes = new ArrayList<>();
    private final List<String> madeVolumes = new ArrayList<>();

    static String unique() {
        return "java-" + UUID.randomUUID().toString().substring(0, 8);
    }

    Sandbox create(CreateSandbox parameters) throws Exception {
        Sandbox sandbox = sandboxes.createSandbox(parameters).execute();
        madeSandboxes.add(sandbox.getId());
        assertEquals(SandboxState.STARTED, sandbox.getState());
        return sandbox;
    }

    VolumeDto volume() throws Exception {
        VolumeDto volume = volumes.createVolume(new CreateVolume().name(unique())).execute();
        madeVolumes.add(volume.getId());
        assertEquals(VolumeState.READY, volume.getState());
        return volume;
    }

    static CreateSandbox mounting(VolumeDto volume, String path, String subpath) {
        SandboxVolume mount = new SandboxVolume().volumeId(volume.getId()).mountPath(path);
        if (subpath != null) {
            mount.subpath(subpath);
        }
        return new CreateSandbox().volumes(List.of(mount));
    }

    @AfterEach
    void deleteAll() throws Exception {
        for (String id : madeSandboxes) {
            // Some tests delete it themselves.
            lets(404, () -> sandboxes.deleteSandbox(id).execute());
        }
        for (String id : madeVolumes) {
            // It is in use until its sandboxes have gone; one that a test has deleted is known and refused.
            eventually("the end of the volume", () -> lets(409, () -> lets(400, () -> volumes.deleteVolume(id).execute())));
        }
    }

    /** Whether a call succeeds, where the one failure is no fault. */
    static boolean lets(int status, Executable call) throws Exception {
        try {
            call.execute();
            return true;
        } catch (ApiException refusal) {
            if (refusal.getCode() == status) {
                return false;
            }
            throw refusal;
        } catch (Exception | Error fault) {
            throw fault;
        } catch (Throwable fault) {
            throw new IllegalStateException(fault);
        }
    }

    static void eventually(String what, Callable<Boolean> condition) throws Exception {
        long end = System.nanoTime() + PATIENCE_SECONDS * 1_000_000_000L;
        while (!condition.call()) {
            if (System.nanoTime() > end) {
                fail("waited in vain for " + what);
            }
            // As long as the official client waits between two questions.
            Thread.sleep(250);
        }
    }

    void reaches(Sandbox sandbox, SandboxState state) throws Exception {
        eventually(state.toString(), () -> sandboxes.getSandbox(sandbox.getId()).execute().getState() == state);
    }

    /** The refusal that a call ends in. Its body says why. */
    static ApiException refused(int status, String reason, Executable call) {
        ApiException refusal = assertThrows(ApiException.class, call);
        assertEquals(status, refusal.getCode(), refusal::getResponseBody);
        assertTrue(refusal.getResponseBody().contains(reason), refusal::getResponseBody);
        return refusal;
    }

    /** The toolbox is not of the API: its address comes with the sandbox, and its client from another document. */
    static toolbox.ApiClient toolbox(Sandbox sandbox) {
        toolbox.ApiClient client = new toolbox.ApiClient();
        client.setBasePath(sandbox.getToolboxProxyUrl() + "/" + sandbox.getId());
        client.addDefaultHeader("Authorization", "Bearer " + Client.KEY);
        client.setReadTimeout(PATIENCE_SECONDS * 1000);
        return client;
    }

    static ExecuteResponse execute(Sandbox sandbox, String command) throws Exception {
        return new ProcessApi(toolbox(sandbox)).executeCommand(new ExecuteRequest().command(command)).execute();
    }

    /** The output of a command that must not fail. */
    static String run(Sandbox sandbox, String command) throws Exception {
        ExecuteResponse answer = execute(sandbox, command);
        assertEquals(0, answer.getExitCode(), answer::getResult);
        return answer.getResult();
    }

    static void upload(Sandbox sandbox, String path, byte[] content) throws Exception {
        File file = Files.write(Files.createTempFile("upload", null), content).toFile();
        try {
            new FileSystemApi(toolbox(sandbox)).uploadFile(path)._file(file).execute();
        } finally {
            file.delete();
        }
    }

    static void upload(Sandbox sandbox, String path, String content) throws Exception {
        upload(sandbox, path, content.getBytes(StandardCharsets.UTF_8));
    }

    static byte[] download(Sandbox sandbox, String path) throws Exception {
        File file = new FileSystemApi(toolbox(sandbox)).downloadFile(path).execute();
        try {
            return Files.readAllBytes(file.toPath());
        } finally {
            file.delete();
        }
    }
}
