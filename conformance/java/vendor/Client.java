package vendor;

import java.math.BigDecimal;

import vendor.api.SandboxApi;
import vendor.model.CreateSandbox;
import vendor.model.Sandbox;

/** Where the client of the vendor's document differs in words from that of this repository's. */
final class Client {
    static final String KEY = System.getenv("DAYTONA_API_KEY");

    private Client() {
    }

    static ApiClient connect(String key) {
        ApiClient client = new ApiClient();
        client.setBasePath(System.getenv("DAYTONA_API_URL"));
        ((vendor.auth.HttpBearerAuth) client.getAuthentication("bearer")).setBearerToken(key);
        // What the official SDK sets around its generated client; the release is that of the document.
        client.addDefaultHeader("X-Daytona-Source", "sdk-java");
        client.addDefaultHeader("X-Daytona-SDK-Version", "0.201.0");
        client.setUserAgent("sdk-java/0.201.0");
        // Creates are answered when the sandbox runs.
        client.setReadTimeout(Support.PATIENCE_SECONDS * 1000);
        return client;
    }

    static BigDecimal number(int value) {
        return BigDecimal.valueOf(value);
    }

    static CreateSandbox stoppingAfter(CreateSandbox parameters, int minutes) {
        return parameters.autoStopInterval(minutes);
    }

    static Sandbox stopAfter(SandboxApi api, Sandbox sandbox, int minutes) throws ApiException {
        return api.setAutostopInterval(sandbox.getId(), BigDecimal.valueOf(minutes)).execute();
    }
}
