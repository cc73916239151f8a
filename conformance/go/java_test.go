//go:build !older

package conformance

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/daytona/clients/sdk-go/pkg/daytona"
	"github.com/daytona/clients/sdk-go/pkg/types"
)

// The Java client is in no registry that these tests can reach. Here is sent what it sends where it differs from the
// others, and looked at what it insists on.

// javaSocket opens a socket as it does: with the key, and with nothing that tells what it is.
func javaSocket(t *testing.T, sandbox *daytona.Sandbox, path string, protocols ...string) *websocket.Conn {
	t.Helper()
	dialer := websocket.Dialer{Subprotocols: protocols, HandshakeTimeout: patience}
	address := strings.Replace(sandbox.ToolboxProxyUrl, "http", "ws", 1) + "/" + sandbox.ID + path
	socket, answer, err := dialer.Dial(address, http.Header{"Authorization": {"Bearer " + os.Getenv("DAYTONA_API_KEY")}})
	if err != nil {
		t.Fatalf("cannot connect: %v, %+v", err, answer)
	}
	check(t, socket.SetReadDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { _ = socket.Close() })
	return socket
}

// readAll reads a socket to its close: what came, and the code.
func readAll(t *testing.T, socket *websocket.Conn) (string, int) {
	t.Helper()
	var text strings.Builder
	for {
		_, message, err := socket.ReadMessage()
		if closed, is := err.(*websocket.CloseError); is {
			return text.String(), closed.Code
		}
		check(t, err)
		text.Write(message)
	}
}

// javaAsk is a request by the generated Java client, and the answer as it checks it.
func javaAsk(t *testing.T, method, url, body string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(background, method, url, strings.NewReader(body))
	check(t, err)
	for name, value := range map[string]string{
		"Authorization":         "Bearer " + os.Getenv("DAYTONA_API_KEY"),
		"X-Daytona-Source":      "sdk-java",
		"X-Daytona-SDK-Version": "0.205.1",
		"User-Agent":            "sdk-java/0.205.1",
	} {
		request.Header.Set(name, value)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	answer, err := http.DefaultClient.Do(request)
	check(t, err)
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	check(t, err)
	if answer.StatusCode >= 300 {
		t.Fatalf("%s %s was answered with %d: %s", method, url, answer.StatusCode, content)
	}
	return content
}

// has wants an answer to have these keys, whatever their values.
func has(t *testing.T, answer []byte, keys ...string) map[string]any {
	t.Helper()
	var object map[string]any
	check(t, json.Unmarshal(answer, &object))
	for _, key := range keys {
		if _, is := object[key]; !is {
			t.Errorf("there is no %s in %s", key, answer)
		}
	}
	return object
}

func TestSocketsOfJavaTellNothingAndAreServed(t *testing.T) {
	sandbox := session(t)
	command := begin(t, sandbox, "work", "echo out; echo err >&2")
	ends(t, sandbox, "work", command)
	// What comes before a marker is dropped by the client.
	logs, code := readAll(t, javaSocket(t, sandbox, "/process/session/work/command/"+command+"/logs?follow=true"))
	equal(t, "the close code", code, websocket.CloseNormalClosure)
	equal(t, "whether it begins with a marker", strings.HasPrefix(logs, "\x01\x01\x01") || strings.HasPrefix(logs, "\x02\x02\x02"), true)
	out, fault := split(logs)
	equal(t, "both streams", [2]string{out, fault}, [2]string{"out\n", "err\n"})

	interpreter := javaSocket(t, sandbox, "/process/interpreter/execute")
	check(t, interpreter.WriteJSON(map[string]any{"code": "print(6 * 7)"}))
	said, code := readAll(t, interpreter)
	contains(t, said, "42")
	contains(t, said, `"completed"`)
	equal(t, "the close code", code, websocket.CloseNormalClosure)
	interpreter = javaSocket(t, sandbox, "/process/interpreter/execute")
	check(t, interpreter.WriteJSON(map[string]any{"code": "import time\ntime.sleep(4242)", "timeout": 1}))
	_, code = readAll(t, interpreter)
	equal(t, "the close code", code, 4008)

	// It types in frames of text.
	terminal := javaSocket(t, sandbox, "/process/pty/create-connect?id=java&cols=80&rows=24", "X-Daytona-Pty-Exit-Control")
	equal(t, "the protocol", terminal.Subprotocol(), "X-Daytona-Pty-Exit-Control")
	check(t, terminal.WriteMessage(websocket.TextMessage, []byte("echo $((6*7)); exit 3\n")))
	said, _ = readAll(t, terminal)
	contains(t, said, "\r42\r\n")
	contains(t, said, `"exitCode":3`)
}

func TestAnswersHaveEveryKeyThatJavaInsistsOn(t *testing.T) {
	t.Parallel()
	api := os.Getenv("DAYTONA_API_URL")
	sandbox := create(t, types.ImageParams{Image: tinyImage})
	full := has(t, javaAsk(t, "GET", api+"/sandbox/"+sandbox.ID, ""), "id", "organizationId", "name", "user", "env", "labels",
		"public", "networkBlockAll", "target", "cpu", "gpu", "memory", "disk", "toolboxProxyUrl")
	for key, value := range full {
		if value == nil {
			t.Errorf("%s is null, where the client wants its kind or nothing", key)
		}
	}
	listed := has(t, javaAsk(t, "GET", api+"/sandbox?limit=1", ""), "items", "nextCursor")
	equal(t, "how many are listed", len(listed["items"].([]any)), 1)
	has(t, javaAsk(t, "GET", api+"/snapshots/default", ""), "id", "general", "name", "state", "size", "entrypoint", "cpu", "gpu",
		"mem", "disk", "errorReason", "createdAt", "updatedAt", "lastUsedAt", "sourceSandboxId")
	made := volumeOf(t)
	has(t, javaAsk(t, "GET", api+"/volumes/by-name/"+made.Name, ""), "id", "name", "organizationId", "state", "createdAt",
		"updatedAt", "errorReason")
	has(t, javaAsk(t, "GET", api+"/sandbox/"+sandbox.ID+"/ports/3000/preview-url", ""), "sandboxId", "url", "token")
}

func TestAStreamedDownloadNamesItsPartAsJavaLooksForIt(t *testing.T) {
	sandbox := fresh(t)
	upload(t, sandbox, "content", "file")
	toolbox := sandbox.ToolboxProxyUrl + "/" + sandbox.ID
	body := javaAsk(t, "POST", toolbox+"/files/bulk-download", `{"paths":["file"]}`)
	head, _, _ := bytes.Cut(body, []byte("\r\n\r\n"))
	contains(t, string(head), `name="file"`)
	contains(t, string(body), "content")
}
