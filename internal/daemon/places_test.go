package daemon

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sealsmith/sealsmith/agent"
	"github.com/sealsmith/sealsmith/internal/testenv"
)

func TestTemporaryFolder(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	r := h.ssh(t, "", []string{"TMPDIR=" + h.dir}, "-T")
	if dir := filepath.Dir(r.socket); filepath.Dir(dir) != h.dir {
		t.Errorf("socket %s is not in a folder of %s", r.socket, h.dir)
	} else if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	serves(t, r.socket)
	syscall.Kill(r.pid, syscall.SIGTERM)
	waitGone(t, filepath.Dir(r.socket))
}

// TestRelativeDevice: neither the agent nor its helper stays where it was started.
func TestRelativeDevice(t *testing.T) {
	t.Parallel()
	testenv.Need(t, testenv.SWTPM)
	h := newHome(t)
	r := h.ssh(t, "", []string{"SEALSMITH_TPM=swtpm:here"}, "-s")
	client, err := agent.Dial(t.Context(), filepath.Join(filepath.Dir(r.socket), "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if d, err := client.Device(t.Context()); err != nil || d.Device != "swtpm:"+h.dir+"/here" {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "here", "tpm2-00.permall")); err != nil {
		t.Error(err)
	}
}

// TestBadTemporaryFolder is where another user could put his folder in the place of ours,
// and what a shell would not read as one path.
func TestBadTemporaryFolder(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	for name, c := range map[string]struct {
		mode fs.FileMode
		want string
	}{
		"all":       {0o777, "other users can replace"},
		"group":     {0o770, "other users can replace"},
		"a\nexit 7": {0o700, "control character"},
	} {
		dir := filepath.Join(h.dir, name)
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, c.mode)); err != nil {
			t.Fatal(err)
		}
		r := h.ssh(t, "", []string{"TMPDIR=" + dir}, "-T")
		if r.status != exitFailed || r.out != "" || !strings.Contains(r.err, c.want) {
			t.Errorf("%q: %+v", name, r)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%q: left %v, %v", name, left, err)
		}
	}
}

// TestRelativeTemporaryFolder: who evals what the agent prints may be elsewhere by then.
func TestRelativeTemporaryFolder(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	r := h.ssh(t, "", []string{"TMPDIR=."}, "-T")
	if !strings.HasPrefix(r.socket, h.dir+"/agent-") {
		t.Errorf("%+v", r)
	}
	syscall.Kill(r.pid, syscall.SIGTERM)
	waitGone(t, filepath.Dir(r.socket))
}
