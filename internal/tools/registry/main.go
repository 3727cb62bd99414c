// Registry is an OCI registry in memory, for tests and the demo: it listens on a
// loopback address, prints it, and forgets everything when it ends.
//
//	registry -addr 127.0.0.1:0 -port-file FILE -referrers
//
// With -referrers it answers the referrers API of OCI 1.1; without, clients must
// fall back to a tag, as with most registries that people run. Its answers name
// the config's media type as the artifact type, which is wrong and which some
// public registries do too.
//
// # Trust
//
// It checks nobody: every user of the machine can read and write what it holds.
// That is why it refuses to listen on anything but loopback.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:0", "loopback `address` to listen on; port 0 takes a free one")
	portFile := flag.String("port-file", "", "write the port to this `file` when ready")
	referrers := flag.Bool("referrers", false, "answer the referrers API")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, *portFile, *referrers); err != nil {
		fmt.Fprintln(os.Stderr, "registry:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, addr, portFile string, referrers bool) error {
	listener, err := listen(addr)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: registry.New(
			registry.Logger(log.New(io.Discard, "", 0)),
			registry.WithReferrersSupport(referrers)),
		ReadHeaderTimeout: 10 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if err := announce(listener.Addr().(*net.TCPAddr), portFile); err != nil {
		server.Close()
		return err
	}
	select {
	case err = <-served:
	case <-ctx.Done():
		server.Close()
		err = <-served
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// listen refuses an address that other machines could reach. It looks at what
// the system bound, not at the text, because a name can mean any address.
func listen(addr string) (net.Listener, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	if tcp := listener.Addr().(*net.TCPAddr); !tcp.IP.IsLoopback() {
		listener.Close()
		return nil, fmt.Errorf("address %s is not loopback", tcp)
	}
	return listener, nil
}

// announce prints the address and writes the port file, whole or not at all.
func announce(addr *net.TCPAddr, portFile string) error {
	fmt.Println(addr)
	if portFile == "" {
		return nil
	}
	temp := portFile + ".tmp"
	if err := os.WriteFile(temp, []byte(strconv.Itoa(addr.Port)+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, portFile)
}
