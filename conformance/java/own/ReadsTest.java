package own;

import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;

import java.io.File;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

import own.api.AdminApi;
import own.api.SandboxApi;
import own.api.UsersApi;
import own.model.CreateSandbox;
import own.model.ErrorBody;
import own.model.Sandbox;
import own.model.VolumeDto;

/** This repository's document says all that the server answers: the client refuses what it leaves out. */
class ReadsTest extends Support {
    /** Whatever is read without a body, and by one id at most, by the names of the operations. */
    @TestFactory
    Stream<DynamicTest> everyAnswerIsReadAsTheDocumentSays() throws Exception {
        Sandbox sandbox = create(new CreateSandbox());
        String organization = sandbox.getOrganizationId();
        VolumeDto volume = volume();
        String user = new UsersApi(sandboxes.getApiClient()).getAuthenticatedUser().execute().getId();
        String runner = new AdminApi(sandboxes.getApiClient()).adminListRunners().execute().get(0).getId();
        // By class, and by operation where that is not enough.
        Map<String, String> ids = Map.ofEntries(
            Map.entry("AuditApi", organization),
            Map.entry("ImagesApi", "default"),
            Map.entry("OrganizationsApi", organization),
            Map.entry("PreviewApi", sandbox.getId()),
            Map.entry("RunnersApi", runner),
            Map.entry("SandboxApi", sandbox.getId()),
            Map.entry("SnapshotsApi", "default"),
            Map.entry("UsersApi", user),
            Map.entry("VolumesApi", volume.getId()),
            Map.entry("WebhooksApi", organization),
            Map.entry("WorkspaceApi", sandbox.getId()),
            Map.entry("adminGetRunnerById", runner),
            Map.entry("adminGetUser", user),
            Map.entry("getOrganizationBySandboxIdOlder", sandbox.getId()),
            Map.entry("getRegionById", sandbox.getTarget()),
            Map.entry("getRunnerBySandboxId", sandbox.getId()),
            Map.entry("getVolumeByName", volume.getName()));
        List<DynamicTest> tests = new ArrayList<>();
        // One class for each tag of the document.
        for (File file : new File(SandboxApi.class.getResource(".").toURI()).listFiles()) {
            if (!file.getName().matches("\\w+Api\\.class")) {
                continue;
            }
            String group = file.getName().replace(".class", "");
            Class<?> kind = Class.forName("own.api." + group);
            Object api = kind.getConstructor(ApiClient.class).newInstance(Client.connect(Client.KEY));
            for (Method method : kind.getMethods()) {
                boolean reads = method.getName().matches("(adminL|l)ist[A-Z].*|(adminG|g)et[A-Z].*");
                if (!reads || !method.getReturnType().getSimpleName().startsWith("API")) {
                    continue;
                }
                String id = ids.getOrDefault(method.getName(), ids.getOrDefault(group, UNKNOWN_ID));
                Object[] arguments = method.getParameterCount() == 0 ? new Object[0] : new Object[] {id};
                if (List.of(method.getParameterTypes()).equals(Collections.nCopies(arguments.length, String.class))) {
                    tests.add(DynamicTest.dynamicTest(
                        method.getName(), () -> read(method.getName(), method.invoke(api, arguments))));
                }
            }
        }
        assertTrue(tests.size() > 80, "there are only " + tests.size());
        return tests.stream().sorted(Comparator.comparing(DynamicTest::getDisplayName));
    }

    /** The answer is what it may be, or a refusal with the one body that they have. */
    private static void read(String name, Object request) throws Exception {
        Throwable fault = null;
        try {
            Object answer = request.getClass().getMethod("execute").invoke(request);
            if (answer instanceof File) {
                ((File) answer).delete();
            }
        } catch (InvocationTargetException thrown) {
            fault = thrown.getCause();
        }
        if (fault instanceof ApiException) {
            ApiException refusal = (ApiException) fault;
            // It is not there, or not for this key.
            assertTrue(refusal.getCode() == 404 || refusal.getCode() == 403, refusal::getMessage);
            ErrorBody.fromJson(refusal.getResponseBody());
        } else if (fault != null) {
            fail(name, fault);
        }
    }

    @Test
    void refusalsHaveTheBodyThatTheDocumentSays() throws Exception {
        ApiException refusal = refused(404, "not found", () -> sandboxes.getSandbox(UNKNOWN_ID).execute());
        ErrorBody body = ErrorBody.fromJson(refusal.getResponseBody());
        assertTrue(body.getMessage().contains("not found"), body::getMessage);
        assertTrue(body.getCode().length() > 0);
    }
}
