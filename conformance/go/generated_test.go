//go:build !older

package conformance

import (
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"

	api "github.com/daytonaio/daytona/libs/api-client-go"
	box "github.com/daytonaio/daytona/libs/toolbox-api-client-go"

	"github.com/daytona/clients/sdk-go/pkg/daytona"
)

// The generated clients of 0.190.0, for which there is no SDK: they name no version, and read each answer by their own models.

func generated() *api.APIClient {
	config := api.NewConfiguration()
	config.Servers = api.ServerConfigurations{{URL: os.Getenv("DAYTONA_API_URL")}}
	config.AddDefaultHeader("Authorization", "Bearer "+os.Getenv("DAYTONA_API_KEY"))
	return api.NewAPIClient(config)
}

func generatedToolbox(sandbox *daytona.Sandbox) *box.APIClient {
	config := box.NewConfiguration()
	config.Servers = box.ServerConfigurations{{URL: sandbox.ToolboxProxyUrl + "/" + sandbox.ID}}
	config.AddDefaultHeader("Authorization", "Bearer "+os.Getenv("DAYTONA_API_KEY"))
	return box.NewAPIClient(config)
}

// asked calls every operation of a client that only asks and takes these arguments. Whatever answers with success must be
// read by the client; the names of those that were.
func asked(t *testing.T, client any, arguments ...any) map[string]bool {
	t.Helper()
	given := []reflect.Value{reflect.ValueOf(background)}
	for _, argument := range arguments {
		given = append(given, reflect.ValueOf(argument))
	}
	read := map[string]bool{}
	groups := reflect.ValueOf(client).Elem()
	for group := range groups.NumField() {
		// An interface holds the operations; the rest is the client's own.
		if !groups.Type().Field(group).IsExported() || groups.Field(group).Kind() != reflect.Interface {
			continue
		}
		operations := groups.Field(group)
		for number := range operations.NumMethod() {
			name := operations.Type().Method(number).Name
			call := operations.Method(number)
			if !strings.HasPrefix(name, "Get") && !strings.HasPrefix(name, "List") || !takes(call.Type(), given) {
				continue
			}
			request := call.Call(given)[0]
			execute := request.MethodByName("Execute")
			if !execute.IsValid() {
				continue
			}
			answer := execute.Call(nil)
			fault, _ := answer[len(answer)-1].Interface().(error)
			response, _ := answer[len(answer)-2].Interface().(*http.Response)
			if response == nil {
				// It needs more than this, which the client says by itself.
				if fault == nil || !strings.Contains(fault.Error(), "is required") {
					t.Errorf("%s was not answered: %v", name, fault)
				}
			} else if fault == nil {
				read[name] = true
			} else if response.StatusCode < 300 {
				t.Errorf("%s cannot be read: %v", name, fault)
			} else if response.StatusCode >= 500 && response.StatusCode != 501 {
				t.Errorf("%s failed: %v", name, fault)
			}
		}
	}
	return read
}

func takes(operation reflect.Type, given []reflect.Value) bool {
	if operation.NumIn() != len(given) {
		return false
	}
	for number, value := range given {
		if !value.Type().AssignableTo(operation.In(number)) {
			return false
		}
	}
	return true
}

func wants(t *testing.T, read map[string]bool, names ...string) {
	t.Helper()
	for _, name := range names {
		if !read[name] {
			t.Errorf("%s was not answered with success; these were: %v", name, read)
		}
	}
}

func TestTheGeneratedClientReadsWhatIsToldOfAllAndOfASandbox(t *testing.T) {
	sandbox := fresh(t)
	wants(t, asked(t, generated()),
		"ListSandboxes", "ListSandboxesPaginatedDeprecated", "GetAllSnapshots", "ListVolumes", "ListApiKeys", "ListOrganizations")
	wants(t, asked(t, generated(), sandbox.ID),
		"GetSandbox", "GetToolboxProxyUrl", "GetOrganizationBySandboxId")
}

func TestTheGeneratedToolboxClientReadsWhatItAsks(t *testing.T) {
	sandbox := session(t)
	upload(t, sandbox, "one needle\n", "file")
	toolbox := generatedToolbox(sandbox)
	wants(t, asked(t, toolbox), "GetUserHomeDir", "GetWorkDir", "GetVersion", "ListSessions", "ListPtySessions",
		"ListInterpreterContexts", "GetPorts")
	wants(t, asked(t, toolbox, "work"), "GetSession")
	files, _, err := toolbox.FileSystemAPI.ListFiles(background).Path(".").Execute()
	check(t, err)
	equal(t, "whether there are files", len(files) > 0, true)
	matches, _, err := toolbox.FileSystemAPI.FindInFiles(background).Path("file").Pattern("needle").Execute()
	check(t, err)
	equal(t, "what matches", matches[0].GetContent(), "one needle")
	answer, _, err := toolbox.ProcessAPI.ExecuteCommand(background).Request(*box.NewExecuteRequest("echo $((1+1))")).Execute()
	check(t, err)
	equal(t, "the output", answer.GetResult(), "2\n")
}

func TestTheGeneratedClientMakesAndEndsASandbox(t *testing.T) {
	t.Parallel()
	client := generated()
	made, _, err := client.SandboxAPI.CreateSandbox(background).CreateSandbox(*api.NewCreateSandbox()).Execute()
	check(t, err)
	equal(t, "the state", string(made.GetState()), "started")
	stopped, _, err := client.SandboxAPI.StopSandbox(background, made.GetId()).Execute()
	check(t, err)
	equal(t, "which one was stopped", stopped.GetId(), made.GetId())
	_, _, err = client.SandboxAPI.SetAutostopInterval(background, made.GetId(), 30).Execute()
	check(t, err)
	_, _, err = client.SandboxAPI.DeleteSandbox(background, made.GetId()).Execute()
	check(t, err)
}
