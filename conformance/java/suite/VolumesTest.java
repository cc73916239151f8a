package own;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;

import org.junit.jupiter.api.Test;

import own.model.CreateVolume;
import own.model.Sandbox;
import own.model.SandboxState;
import own.model.SandboxVolume;
import own.model.VolumeDto;

class VolumesTest extends Support {
    private boolean isListed(VolumeDto volume) throws ApiException {
        return volumes.listVolumes().execute().stream().anyMatch(one -> one.getId().equals(volume.getId()));
    }

    @Test
    void aVolumeIsMadeListedAndDeleted() throws Exception {
        VolumeDto volume = volume();
        assertEquals(volume.getId(), volumes.getVolumeByName(volume.getName()).execute().getId());
        assertEquals(volume.getName(), volumes.getVolume(volume.getId()).execute().getName());
        assertTrue(isListed(volume));
        refused(400, volume.getName(), () -> volumes.createVolume(new CreateVolume().name(volume.getName())).execute());
        volumes.deleteVolume(volume.getId()).execute();
        refused(404, "not found", () -> volumes.getVolumeByName(volume.getName()).execute());
        eventually("its end in the list", () -> !isListed(volume));
    }

    @Test
    void whatOneSandboxWritesTheOtherReads() throws Exception {
        VolumeDto volume = volume();
        Sandbox one = create(mounting(volume, "/home/daytona/volume", null));
        Sandbox other = create(mounting(volume, "/mnt/other", "part"));
        SandboxVolume mount = other.getVolumes().get(0);
        assertEquals(volume.getId(), mount.getVolumeId());
        assertEquals("/mnt/other", mount.getMountPath());
        assertEquals("part", mount.getSubpath());

        upload(one, "volume/part/file", "one\n");
        assertEquals("one\n", run(other, "cat /mnt/other/file"));
        run(other, "sh -c 'echo two > /mnt/other/back'");
        assertArrayEquals("two\n".getBytes(StandardCharsets.UTF_8), download(one, "volume/part/back"));
        // A part shows nothing of what is beside it.
        upload(one, "volume/beside", "hidden");
        assertFalse(run(other, "ls /mnt/other").contains("beside"));

        sandboxes.stopSandbox(one.getId()).execute();
        reaches(one, SandboxState.STOPPED);
        sandboxes.startSandbox(one.getId()).execute();
        reaches(one, SandboxState.STARTED);
        assertEquals("one\n", run(one, "cat volume/part/file"));
    }

    @Test
    void aVolumeInUseIsNotDeleted() throws Exception {
        VolumeDto volume = volume();
        Sandbox sandbox = create(mounting(volume, "/mnt/it", null));
        refused(409, "in use", () -> volumes.deleteVolume(volume.getId()).execute());
        sandboxes.deleteSandbox(sandbox.getId()).execute();
        eventually("the end of the volume", () -> lets(409, () -> volumes.deleteVolume(volume.getId()).execute()));
    }

    @Test
    void whatIsNotThereIsRefused() throws Exception {
        refused(404, "not found", () -> volumes.getVolume(UNKNOWN_ID).execute());
        refused(404, "not found", () -> volumes.deleteVolume(UNKNOWN_ID).execute());
        VolumeDto unknown = new VolumeDto();
        unknown.setId(UNKNOWN_ID);
        ApiException refusal =
            refused(404, UNKNOWN_ID, () -> sandboxes.createSandbox(mounting(unknown, "/mnt/it", null)).execute());
        assertTrue(refusal.getMessage().contains("404"), refusal.getMessage());
    }
}
