package conformance

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"

	"github.com/daytona/clients/sdk-go/pkg/daytona"
	"github.com/daytona/clients/sdk-go/pkg/types"
)

const port = 3456

// serves starts a server that only the sandbox's own loopback reaches, and answers its address.
func serves(t *testing.T, sandbox *daytona.Sandbox) *types.PreviewLink {
	t.Helper()
	check(t, sandbox.Process.CreateSession(background, "server"))
	begin(t, sandbox, "server", "mkdir -p www && echo inside > www/page && cd www && python3 -m http.server 3456 --bind 127.0.0.1")
	link, err := sandbox.GetPreviewLink(background, port)
	check(t, err)
	eventually(t, "a server that answers", func() bool {
		status, _ := look(t, link.URL, link.Token)
		return status == 200
	})
	return link
}

// look answers status and body of the page, whatever this machine makes of names below localhost.
func look(t *testing.T, address, token string) (int, string) {
	t.Helper()
	parsed, err := url.Parse(address)
	check(t, err)
	request, err := http.NewRequestWithContext(background, http.MethodGet, "http://"+net.JoinHostPort("127.0.0.1", parsed.Port())+"/page", nil)
	check(t, err)
	request.Host = parsed.Host
	if token != "" {
		request.Header.Set("X-Daytona-Preview-Token", token)
	}
	answer, err := http.DefaultClient.Do(request)
	check(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	check(t, err)
	return answer.StatusCode, string(body)
}

func TestALinkShowsThePortToWhoHasTheToken(t *testing.T) {
	sandbox := fresh(t)
	link := serves(t, sandbox)
	status, body := look(t, link.URL, link.Token)
	equal(t, "the page", body, "inside\n")
	equal(t, "the status", status, 200)
	status, _ = look(t, link.URL, "")
	equal(t, "the status without a token", status, 401)
	status, _ = look(t, link.URL, "guess")
	equal(t, "the status with another token", status, 401)
}

func TestAPublicSandboxShowsItsPortsToEverybody(t *testing.T) {
	t.Parallel()
	sandbox := create(t, types.SnapshotParams{SandboxBaseParams: types.SandboxBaseParams{Public: true}})
	link := serves(t, sandbox)
	status, _ := look(t, link.URL, "")
	equal(t, "the status", status, 200)
}
