package conformance

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/daytona/clients/sdk-go/pkg/daytona"
	"github.com/daytona/clients/sdk-go/pkg/options"
)

const repository = "http://127.0.0.1:8090/git/a.git"

// served is a sandbox in which a git server with a password answers.
func served(t *testing.T) *daytona.Sandbox {
	t.Helper()
	sandbox := fresh(t)
	server, err := os.ReadFile("../git-server.py")
	check(t, err)
	upload(t, sandbox, string(server), "git-server.py")
	check(t, sandbox.Process.CreateSession(background, "git"))
	command := begin(t, sandbox, "git", "exec python3 git-server.py")
	eventually(t, "the git server", func() bool {
		out, _ := logsOf(t, sandbox, "git", command)
		return strings.Contains(out, "ready")
	})
	return sandbox
}

func clone(t *testing.T, sandbox *daytona.Sandbox, path string, opts ...func(*options.GitClone)) {
	t.Helper()
	opts = append(opts, options.WithUsername("ada"), options.WithPassword("pass word"))
	check(t, sandbox.Git.Clone(background, repository, path, opts...))
}

func TestACloneIsChangedAndPushed(t *testing.T) {
	sandbox := served(t)
	git := sandbox.Git
	clone(t, sandbox, "a")
	status, err := git.Status(background, "a")
	check(t, err)
	equal(t, "the branch", status.CurrentBranch, "main")
	equal(t, "what has changed", len(status.FileStatus), 0)
	equal(t, "whether it is published", status.BranchPublished, true)

	upload(t, sandbox, "x\n", "a/new")
	status, err = git.Status(background, "a")
	check(t, err)
	equal(t, "how many have changed", len(status.FileStatus), 1)
	equal(t, "what has changed", status.FileStatus[0].Path, "new")
	check(t, git.Add(background, "a", []string{"new"}))
	commit, err := git.Commit(background, "a", "second", "Ada", "ada@example.com")
	check(t, err)
	equal(t, "the length of its name", len(commit.SHA), 40)
	status, err = git.Status(background, "a")
	check(t, err)
	equal(t, "how far it is ahead", status.Ahead, 1)
	as := []func(*options.GitPush){options.WithPushUsername("ada"), options.WithPushPassword("pass word")}
	check(t, git.Push(background, "a", as...))
	status, err = git.Status(background, "a")
	check(t, err)
	equal(t, "how far it is ahead", status.Ahead, 0)

	check(t, git.CreateBranch(background, "a", "topic"))
	branches, err := git.Branches(background, "a")
	check(t, err)
	slices.Sort(branches)
	equal(t, "the branches", branches, []string{"main", "topic"})
	check(t, git.Checkout(background, "a", "main"))
	check(t, git.DeleteBranch(background, "a", "topic"))
	check(t, git.Pull(background, "a", options.WithPullUsername("ada"), options.WithPullPassword("pass word")))

	clone(t, sandbox, "b", options.WithCommitId(commit.SHA))
	equal(t, "the commit", strings.TrimSpace(run(t, sandbox, "git -C b rev-parse HEAD")), commit.SHA)
	clone(t, sandbox, "c", options.WithBranch("main"))
	_, err = git.Commit(background, "c", "empty", "Ada", "ada@example.com", options.WithAllowEmpty(true))
	check(t, err)
}

func TestFailuresOfGitHaveTheirStatus(t *testing.T) {
	sandbox := served(t)
	git := sandbox.Git
	refused(t, 401, git.Clone(background, repository, "a"))
	refused(t, 401, git.Clone(background, repository, "a", options.WithUsername("ada"), options.WithPassword("wrong")))
	_, err := git.Status(background, "a")
	refused(t, 404, err)
	clone(t, sandbox, "a")
	refused(t, 409, git.Clone(background, repository, "a", options.WithUsername("ada"), options.WithPassword("pass word")))
	refused(t, 404, git.Checkout(background, "a", "nope"))
	refused(t, 409, git.CreateBranch(background, "a", "main"))
	_, err = git.Commit(background, "a", "nothing", "Ada", "ada@example.com")
	refused(t, 409, err)
}
