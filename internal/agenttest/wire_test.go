package agenttest

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// frame is a message as it stands on the wire.
func frame(kind byte, body ...[]byte) []byte {
	var all []byte
	for _, b := range body {
		all = append(all, b...)
	}
	out := binary.BigEndian.AppendUint32(nil, uint32(len(all)+1))
	return append(append(out, kind), all...)
}

// text is an SSH string.
func text(s string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
}

// list is a request for identities.
var list = frame(11)

// dial connects to the agent. What it does not answer within ten seconds fails the
// test.
func (s *subject) dial() net.Conn {
	s.t.Helper()
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

// readAnswer reads one answer.
func readAnswer(conn net.Conn) ([]byte, error) {
	var header [4]byte
	if _, err := io.ReadFull(conn, header[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint32(header[:]))
	_, err := io.ReadFull(conn, answer)
	return answer, err
}

// exchange sends a message, and then asks for the identities. It returns the answers
// in hexadecimal, or "closed" or "silent" in the place of the first that does not come.
func (s *subject) exchange(message []byte, patience time.Duration) string {
	s.t.Helper()
	conn := s.dial()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	var got []string
	for _, m := range [][]byte{message, list} {
		conn.Write(m) // what is closed is seen when it is read
		answer, err := readAnswer(conn)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return strings.Join(append(got, silent), " ")
		}
		if err != nil {
			return strings.Join(append(got, closed), " ")
		}
		got = append(got, hex.EncodeToString(answer))
	}
	return strings.Join(got, " ")
}

// Answers of an agent that holds nothing.
const (
	empty   = "0c00000000"
	failed  = "05 " + empty
	done    = "06 " + empty
	badBind = "1c " + empty
	closed  = "closed"
	silent  = "silent"
)

// wireCase is a message and its answers, of which a * leaves the rest open.
type wireCase struct {
	name    string
	message []byte
	want    string // of both
	ours    string // where we differ
	why     string // we do
}

var malformed = "what is malformed ends the connection: nobody knows what the client means next"

var wireCases = []wireCase{
	{name: "list", message: list, want: empty + " " + empty},
	{name: "list and more", message: frame(11, []byte{1}), want: empty + " " + empty, ours: closed, why: malformed},
	{name: "reserved 0", message: frame(0), want: failed},
	{name: "request of protocol 1", message: frame(3), want: failed},
	{name: "remove all of protocol 1", message: frame(9), want: done},
	{name: "an answer", message: frame(6), want: failed},
	{name: "private use", message: frame(240, []byte("anything")), want: failed},
	{name: "unknown 255", message: frame(255), want: failed},
	{name: "remove all", message: frame(19), want: done},
	{name: "remove what is not there", message: frame(18, text("no key")), want: failed},
	{name: "remove nothing", message: frame(18), want: failed},
	{name: "sign with what is not there", message: frame(13, text("no key"), text("data"), make([]byte, 4)), want: failed},
	{name: "sign, cut", message: frame(13, text("no key")), want: failed, ours: closed, why: malformed},
	{name: "sign, string too long", message: frame(13, []byte{0xff, 0xff, 0xff, 0xff}), want: failed, ours: closed, why: malformed},
	{name: "add nothing", message: frame(17), want: failed},
	{name: "add of an unknown type", message: frame(17, text("ssh-unknown"), text("x"), text("comment")), want: failed},
	{name: "add of DSA", message: frame(17, text("ssh-dss"), text("x")), want: failed},
	{name: "add of an empty Ed25519 key", message: frame(17, text("ssh-ed25519"), text(""), text(""), text("comment")), want: failed},
	{name: "add of a short Ed25519 key", message: frame(17, text("ssh-ed25519"), text("a"), text("b"), text("comment")), want: failed},
	{name: "add of an RSA key of zeros", message: frame(17, text("ssh-rsa"), text(""), text(""), text(""), text(""), text(""), text(""), text("comment")), want: failed},
	{name: "add of an impossible ECDSA key", message: frame(17, text("ecdsa-sha2-nistp256"), text("nistp256"), text("\x04"), text("\x01"), text("comment")), want: failed},
	{name: "smartcard", message: frame(20, text("/nonexistent.so"), text("")), want: failed},
	{name: "smartcard, constrained", message: frame(26, text("/nonexistent.so"), text(""), []byte{2}), want: failed},
	{name: "remove smartcard", message: frame(21, text("/nonexistent.so"), text("")), want: failed},
	{name: "unlock what is not locked", message: frame(23, text("passphrase")), want: failed},
	{name: "lock with nothing", message: frame(22, text("")), want: failed},
	{name: "unknown extension", message: frame(27, text("nonsense@example.org"), []byte("x")), want: failed},
	{name: "extension without a name", message: frame(27), want: failed, ours: closed, why: malformed},
	{name: "bind to nothing", message: frame(27, text("session-bind@openssh.com")), want: badBind},
	{name: "query", message: frame(27, text("query")), want: "1d000000057175657279*"},
	{name: "length 0", message: make([]byte, 4), want: silent, ours: closed, why: malformed},
	{name: "length over the limit", message: []byte{0, 4, 0, 1, 11}, want: closed},
	{name: "length of 4 GB", message: []byte{0xff, 0xff, 0xff, 0xff, 11}, want: closed},
	{name: "longest message", message: frame(240, make([]byte, 256<<10-1)), want: failed},
}

// byVersion are answers of older releases of OpenSSH's agent.
var byVersion = []struct {
	major, minor int // before this one
	name, want   string
}{
	{10, 3, "query", failed},
	// No older one tells what failed from what it does not know.
	{10, 3, "bind to nothing", failed},
}

// wantOf is what an agent answers.
func (c wireCase) wantOf(t *testing.T, name string) string {
	if name == ours {
		if c.ours != "" {
			return c.ours
		}
		return c.want
	}
	major, minor := opensshVersion(t)
	for _, v := range byVersion {
		if v.name == c.name && (major < v.major || major == v.major && minor < v.minor) {
			return v.want
		}
	}
	return c.want
}

// TestWire sends messages to agents that hold nothing, and compares all octets of
// what they answer.
func TestWire(t *testing.T) {
	both(t, func(t *testing.T, s *subject) {
		for _, c := range wireCases {
			if (c.ours != "") != (c.why != "") {
				t.Errorf("%s: differs without a reason", c.name)
			}
			want, patience := c.wantOf(t, s.name), 10*time.Second
			if want == silent {
				patience = 50 * time.Millisecond
			}
			got := s.exchange(c.message, patience)
			if prefix, open := strings.CutSuffix(want, "*"); got != want && !(open && strings.HasPrefix(got, prefix)) {
				t.Errorf("%s: %s, want %s", c.name, got, want)
			}
		}
	})
}

// both runs a test against each agent.
func both(t *testing.T, test func(t *testing.T, s *subject)) {
	t.Parallel()
	for _, name := range []string{openSSH, ours} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t, name))
		})
	}
}

// TestPipelined sends many requests before it reads an answer, and one of them octet
// by octet.
func TestPipelined(t *testing.T) {
	both(t, func(t *testing.T, s *subject) {
		public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s.added("ed25519")))
		if err != nil {
			t.Fatal(err)
		}
		conn := s.dial()
		var all []byte
		const rounds = 32
		for range rounds {
			all = append(all, list...)
			all = append(all, frame(13, text(string(public.Marshal())), text("data"), make([]byte, 4))...)
			all = append(all, frame(255)...)
		}
		if _, err := conn.Write(all); err != nil {
			t.Fatal(err)
		}
		for i := range 3 * rounds {
			answer, err := readAnswer(conn)
			if want := []byte{12, 14, 5}[i%3]; err != nil || answer[0] != want {
				t.Fatalf("answer %d: %x, %v; want %d", i, answer, err, want)
			}
		}
		for _, octet := range list {
			if _, err := conn.Write([]byte{octet}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		if answer, err := readAnswer(conn); err != nil || answer[0] != 12 {
			t.Errorf("sent in pieces: %x, %v", answer, err)
		}
	})
}

// TestSignFlags asks for signatures with each set of flags.
func TestSignFlags(t *testing.T) {
	both(t, func(t *testing.T, s *subject) {
		for _, c := range []struct {
			kind       string
			flags      byte
			want, ours string // the algorithms of the signature; none: refused
			why        string // we differ
		}{
			{kind: "rsa", flags: 2, want: ssh.KeyAlgoRSASHA256, ours: ssh.KeyAlgoRSASHA256},
			{kind: "rsa", flags: 4, want: ssh.KeyAlgoRSASHA512, ours: ssh.KeyAlgoRSASHA512},
			{kind: "rsa", flags: 0, want: ssh.KeyAlgoRSA, why: "nothing is signed with SHA-1"},
			{kind: "rsa", flags: 6, want: ssh.KeyAlgoRSASHA256, why: "two hashes are none"},
			{kind: "rsa", flags: 8, want: ssh.KeyAlgoRSA, why: "unknown flags are refused (RFC 9987, section 3.6.1)"},
			{kind: "ed25519", flags: 0, want: ssh.KeyAlgoED25519, ours: ssh.KeyAlgoED25519},
			{kind: "ed25519", flags: 2, want: ssh.KeyAlgoED25519, why: "the flags are for RSA keys (RFC 9987, section 3.6.1)"},
			{kind: "ecdsa-256", flags: 0, want: ssh.KeyAlgoECDSA256, ours: ssh.KeyAlgoECDSA256},
		} {
			if (c.want != c.ours) != (c.why != "") {
				t.Errorf("%+v: differs without a reason", c)
			}
			want := c.want
			if s.name == ours {
				want = c.ours
			}
			public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s.added(c.kind)))
			if err != nil {
				t.Fatal(err)
			}
			data := []byte("data")
			got, err := s.sign(public, data, c.flags)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case want == "" && got != nil:
				t.Errorf("%s, flags %d: signed with %s", c.kind, c.flags, got.Format)
			case want == "":
			case got == nil || got.Format != want:
				t.Errorf("%s, flags %d: %+v, want %s", c.kind, c.flags, got, want)
			default:
				if err := public.Verify(data, got); err != nil {
					t.Errorf("%s, flags %d: %v", c.kind, c.flags, err)
				}
			}
		}
	})
}

// sign has the agent sign; nil: it refuses.
func (s *subject) sign(public ssh.PublicKey, data []byte, flags byte) (*ssh.Signature, error) {
	conn := s.dial()
	defer conn.Close()
	if _, err := conn.Write(frame(13, text(string(public.Marshal())), text(string(data)), []byte{0, 0, 0, flags})); err != nil {
		return nil, err
	}
	answer, err := readAnswer(conn)
	if err != nil || answer[0] == 5 {
		return nil, err
	}
	var m struct {
		Signature []byte `sshtype:"14"`
	}
	if err := ssh.Unmarshal(answer, &m); err != nil {
		return nil, err
	}
	var signature ssh.Signature
	return &signature, ssh.Unmarshal(m.Signature, &signature)
}
