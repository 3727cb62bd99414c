package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/sealsmith/sealsmith/internal/version"
	"github.com/sealsmith/sealsmith/key"
)

// Status is what GET /v1/status answers.
type Status struct {
	API           int           `json:"api"`     // version of the API: 1
	Version       string        `json:"version"` // of the program
	PID           int           `json:"pid"`     // of the agent
	Sockets       Sockets       `json:"sockets"`
	Device        string        `json:"device"`                 // the device string
	DeviceError   *DeviceError  `json:"device_error,omitempty"` // of its last use
	Configuration Configuration `json:"configuration"`
	Locked        bool          `json:"locked"`
	Keys          KeyCounts     `json:"keys"`
	PINs          []HeldPIN     `json:"pins"` // that are remembered
	*Process                    // nil: of an agent inside another program
}

// Process is how the agent's own process is kept.
type Process struct {
	Sandbox Sandbox `json:"sandbox"`
	Asks    string  `json:"asks"` // the program that asks people, or why nobody can be asked
}

// Sandbox is how much the kernel restricts the agent, in versions of Landlock's ABI.
type Sandbox struct {
	ABI  int `json:"landlock_abi"`  // 0: not at all
	Full int `json:"landlock_full"` // has all that the agent uses
}

// Sockets are the paths that the agent serves; empty: none.
type Sockets struct {
	SSH     string `json:"ssh,omitempty"`
	Control string `json:"control,omitempty"`
}

// String is for people.
func (s Sandbox) String() string {
	switch {
	case s.ABI == 0:
		return "none"
	case s.ABI < s.Full:
		return fmt.Sprintf("Landlock with ABI %d, which has not all of %d", s.ABI, s.Full)
	}
	return fmt.Sprintf("Landlock with ABI %d", s.ABI)
}

// KeyCounts says how many keys the agent has.
type KeyCounts struct {
	Hardware int `json:"hardware"`
	Software int `json:"software"` // that clients added
}

// DeviceError is how the last use of the device failed.
type DeviceError struct {
	Time    time.Time `json:"time"`
	Code    string    `json:"code"`
	Message string    `json:"message"`
}

// apiVersion is the version in the path.
const apiVersion = 1

// status describes the agent without a use of the device.
func (s *Server) status(_ http.ResponseWriter, r *http.Request) (int, any, error) {
	infos, _ := s.config.Keys.List(r.Context()) // GET /v1/keys says what is wrong with others
	var process *Process
	if s.config.Process != nil {
		process = s.config.Process()
	}
	return http.StatusOK, Status{
		API: apiVersion, Version: version.Text(), PID: os.Getpid(), Sockets: s.seen.sockets(),
		Device: s.config.Device.String(), DeviceError: s.seen.device(), Configuration: s.configuration(),
		Locked: s.locked() != nil,
		Keys:   KeyCounts{Hardware: len(infos), Software: len(s.software.list())}, PINs: s.config.PINs.held(),
		Process: process,
	}, nil
}

// seen is what the server remembers for people who ask how it is.
type seen struct {
	mu          sync.Mutex
	served      Sockets
	deviceError *DeviceError
}

func (s *seen) sockets() Sockets {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.served
}

func (s *seen) device() *DeviceError {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deviceError
}

// serves notes the path of a socket.
func (s *seen) serves(socket Socket, at net.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if socket == SocketSSH {
		s.served.SSH = at.String()
	} else {
		s.served.Control = at.String()
	}
}

// used notes how a use of the device ended. An error that is not the device's says
// nothing about it.
func (s *seen) used(err error) {
	var lockout *key.LockoutError
	ill := errors.Is(err, key.ErrNoDevice) || errors.Is(err, key.ErrBusy) && !errors.Is(err, errCrowded) || errors.As(err, &lockout)
	if err != nil && !ill {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deviceError = nil
	if ill {
		s.deviceError = &DeviceError{time.Now().UTC(), codeOf(err), shorten(err.Error())}
	}
}

// Status describes the agent.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.call(ctx, "GET", "/v1/status", nil, &s)
	return s, err
}
