package own;

import own.api.SandboxApi;
import own.model.CreateSandbox;
import own.model.Sandbox;

/** Where the client of this repository's document differs in words from the vendor's. */
final class Client {
    static final String KEY = System.getenv("DAYTONA_API_KEY");

    private Client() {
    }

    static ApiClient connect(String key) {
        ApiClient client = new ApiClient();
        // The paths of this document begin with /api.
        client.setBasePath(System.getenv("DAYTONA_API_URL").replaceFirst("/api/*$", ""));
        ((own.auth.HttpBearerAuth) client.getAuthentication("bearer")).setBearerToken(key);
        // Creates are answered when the sandbox runs.
        client.setReadTimeout(Support.PATIENCE_SECONDS * 1000);
        return client;
    }

    static Long number(int value) {
        return (long) value;
    }

    static CreateSandbox stoppingAfter(CreateSandbox parameters, int minutes) {
        return parameters.autoStopInterval((long) minutes);
    }

    static Sandbox stopAfter(SandboxApi api, Sandbox sandbox, int minutes) throws ApiException {
        return api.setAutostopInterval(sandbox.getId(), (long) minutes).execute();
    }
}
