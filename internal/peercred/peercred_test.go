package peercred

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealsmith/sealsmith/internal/testenv"
)

func TestOf(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(testenv.SocketDir(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, conn := range []net.Conn{server, client} {
		got, err := Of(conn)
		if want := (Credentials{UID: os.Getuid(), PID: os.Getpid()}); err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

func TestOfRefuses(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if _, err := Of(a); err == nil {
		t.Error("a pipe has credentials")
	}
	l, err := net.Listen("unix", filepath.Join(testenv.SocketDir(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	if c, err := Of(client); err == nil {
		t.Errorf("a closed connection has credentials %+v", c)
	}
}
