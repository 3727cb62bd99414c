package peercred

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

// TestMain: the test binary is also the peer of a connection, as a child of a shell.
func TestMain(m *testing.M) {
	path := os.Getenv("SEALSMITH_TEST_PEER")
	if path == "" {
		os.Exit(m.Run())
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		panic(err)
	}
	conn.Read(make([]byte, 1))
}

// peer has another process connect, below a shell.
func peer(t *testing.T) (conn net.Conn, shell *exec.Cmd) {
	t.Helper()
	path := filepath.Join(testenv.SocketDir(t), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := exec.Command("sh", "-c", os.Args[0]+"; exit 0")
	cmd.Env = append(os.Environ(), "SEALSMITH_TEST_PEER="+path, "GORACE=atexit_sleep_ms=0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	conn, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, cmd
}

func TestChainOf(t *testing.T) {
	conn, shell := peer(t)
	c, err := Of(conn)
	if err != nil {
		t.Fatal(err)
	}
	process, err := ProcessOf(conn)
	if errors.Is(err, syscall.ENOPROTOOPT) {
		t.Log("this kernel has no descriptors of peers")
	} else if err != nil {
		t.Fatal(err)
	} else {
		defer process.Close()
	}
	chain, err := ChainOf(c.PID, process, 0)
	if err != nil || len(chain) < 3 || chain[0].PID != c.PID || !strings.HasSuffix(chain[0].Name, filepath.Base(os.Args[0])) ||
		!filepath.IsAbs(chain[0].Name) || chain[1].PID != shell.Process.Pid || filepath.IsAbs(chain[1].Name) || chain[2].PID != os.Getpid() {
		t.Errorf("%v, %v", chain, err)
	}
	if last := chain[len(chain)-1]; last.PID == 0 {
		t.Errorf("%v", chain)
	}
	t.Run("a number of another", func(t *testing.T) {
		if chain, err := ChainOf(c.PID, nil, time.Hour); !errors.Is(err, errGone) {
			t.Errorf("%v, %v", chain, err)
		}
	})
	conn.Close()
	if err := shell.Wait(); err != nil {
		t.Fatal(err)
	}
	if chain, err := ChainOf(c.PID, process, 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a process that is gone: %v, %v", chain, err)
	}
	if process != nil {
		// As if the number were another's by now.
		if chain, err := ChainOf(os.Getpid(), process, 0); !errors.Is(err, errGone) {
			t.Errorf("a descriptor of what is gone: %v, %v", chain, err)
		}
	}
}
