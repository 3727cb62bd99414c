package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// openLog makes an audit log that is full after some records.
func openLog(t *testing.T, path string, full int64) *AuditLog {
	t.Helper()
	a, err := OpenAuditLog(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	if full > 0 {
		a.full = full
	}
	return a
}

func writeRecords(t *testing.T, a *AuditLog, n int) {
	t.Helper()
	for range n {
		if err := a.write(newRecord("sign", SocketSSH, Peer{})); err != nil {
			t.Fatal(err)
		}
	}
}

func readLines(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

// The heads of the vectors: what `tail -n 1 FILE | tr -d '\n' | sha256sum` prints.
const (
	headOfGood      = "c0763904d8baf15e695393f0e1284ccb0f1c86ae4d7f254fc82d3348211dadeb"
	headOfFirst     = "115331ee5a7e058c8584f9258d7a78120e9dfd77a24ebe58ac823449746b43b8"
	headOfCut       = "b518bd0f160fb0ef6923deca8b2428f127909f51e3f3030f053d302571c2a397"
	headOfTorn      = "4a6c492056a85eda8a030aa6a19a8b849f96f5dbc467397115c60e3c2fe67f31"
	headOfUnchained = "0cf66b117ed3d608ec67b89e853758339dcad2ef9f7433a81cd1c07d3fa383ba"
)

// TestAuditVectors checks the files that docs/spec/audit-log.md describes.
func TestAuditVectors(t *testing.T) {
	for _, c := range []struct {
		name, head string
		want       AuditCheck // without the files
		broken     string     // or what the error says
	}{
		{"good", "", AuditCheck{First: 1, Last: 3, Head: headOfGood}, ""},
		{"good", headOfGood, AuditCheck{First: 1, Last: 3, Head: headOfGood, KeptHead: 3}, ""},
		{"good", headOfFirst, AuditCheck{First: 1, Last: 3, Head: headOfGood, KeptHead: 1}, ""},
		{"cut", "", AuditCheck{First: 1, Last: 2, Head: headOfCut}, ""}, // nobody can tell
		{"cut", headOfGood, AuditCheck{}, "no record of "},
		{"torn", "", AuditCheck{First: 1, Last: 2, Head: headOfTorn, Torn: []AuditLine{{"", 2}}}, ""},
		{"unchained", "", AuditCheck{First: 1, Last: 1, Head: headOfUnchained, Unchained: 2}, ""},
		{"later", "", AuditCheck{First: 2, Last: 3, Head: headOfGood}, ""},
		{"changed", "", AuditCheck{}, "changed.jsonl, line 3: record 3 does not follow the line before it"},
		{"removed", "", AuditCheck{}, "removed.jsonl, line 2: record 3 follows record 1"},
		{"inserted", "", AuditCheck{}, "inserted.jsonl, line 2: record 2 does not follow"},
		{"unnumbered", "", AuditCheck{}, "unnumbered.jsonl, line 2: the record has no number"},
		{"beheaded", "", AuditCheck{}, "beheaded.jsonl, line 1: lines before record 1 are missing"},
	} {
		t.Run(c.name+"/"+c.head, func(t *testing.T) {
			path := filepath.Join("testdata", "audit", c.name+".jsonl")
			got, err := CheckAuditLog(path, false, c.head)
			if c.broken != "" {
				if !errors.Is(err, ErrAuditBroken) || !strings.Contains(err.Error(), c.broken) {
					t.Errorf("got %+v, %v", got, err)
				}
				return
			}
			c.want.Files = []string{path}
			for i := range c.want.Torn {
				c.want.Torn[i].File = path
			}
			if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
				t.Error(diff, err)
			}
		})
	}
}

// TestAuditCheckNoLog has the check read what was never an audit log: it must not have
// a line to say, or to keep, for each line of that.
func TestAuditCheckNoLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	check := func(lines string) (AuditCheck, error) {
		if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
		return CheckAuditLog(path, false, "")
	}
	noise := strings.Repeat("x\n", limits.AuditTorn+5)
	if got, err := check(noise); !errors.Is(err, ErrAuditBroken) {
		t.Errorf("of no log: %+v, %v", got, err)
	}
	got, err := check(noise + `{"time":"2026-01-01T00:00:00Z"}` + "\n")
	if err != nil || got.Unchained != 1 || len(got.Torn) != limits.AuditTorn || got.MoreTorn != 5 {
		t.Errorf("got %d torn lines, %d more and %d old records, %v", len(got.Torn), got.MoreTorn, got.Unchained, err)
	}
	if got, err := check("x\n"); err != nil || len(got.Torn) != 1 {
		t.Errorf("of a first record that was cut: %+v, %v", got, err)
	}
}

// TestAuditCheckLimits: what is no log of ours is an error, and takes no memory.
func TestAuditCheckLimits(t *testing.T) {
	dir := t.TempDir()
	pipe, long := filepath.Join(dir, "pipe"), filepath.Join(dir, "long")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.WriteFile(long, make([]byte, limits.AuditTail+1), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, dir, filepath.Join(dir, "missing")} {
		if got, err := CheckAuditLog(path, false, ""); err == nil || errors.Is(err, ErrAuditBroken) {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
	}
	if got, err := CheckAuditLog(long, false, ""); !errors.Is(err, ErrAuditBroken) {
		t.Errorf("a line of %d bytes: %+v, %v", limits.AuditTail+1, got, err)
	}
	a := openLog(t, long, 0)
	if err := a.write(newRecord("sign", SocketSSH, Peer{})); err == nil || !strings.Contains(err.Error(), "longer than any of ours") {
		t.Errorf("wrote behind a line without an end: %v", err)
	}
}

// TestTwoWriters: two processes, which have a descriptor each, make one chain, also
// while files fill up.
func TestTwoWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	const writers, each = 4, 60
	var wg sync.WaitGroup
	for range writers {
		a := openLog(t, path, 20_000)
		wg.Go(func() {
			for range each {
				if err := a.write(newRecord("sign", SocketSSH, Peer{})); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := CheckAuditLog(path, true, "")
	if err != nil || got.First != 1 || got.Last != writers*each || len(got.Files) < 2 || len(got.Torn) > 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestAuditRotation: the chain goes on in the next file, old ones are removed, and a
// new process goes on where the last one ended, even if it had no time to begin a file.
func TestAuditRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	a := openLog(t, path, 1) // a record a file
	writeRecords(t, a, limits.AuditFiles+3)
	got, err := CheckAuditLog(path, true, "")
	if err != nil || got.First != 3 || got.Last != limits.AuditFiles+3 || len(got.Files) != limits.AuditFiles+1 {
		t.Fatalf("got %+v, %v", got, err)
	}
	if name := olderLog(path, 3); got.Files[0] != name || filepath.Base(name) != "audit.000000000003.jsonl" {
		t.Errorf("the oldest file is %s", got.Files[0])
	}
	head := got.Head
	a.Close()
	if err := os.Rename(path, olderLog(path, got.Last)); err != nil { // then it crashed
		t.Fatal(err)
	}
	writeRecords(t, openLog(t, path, 0), 2)
	got, err = CheckAuditLog(path, true, head)
	if err != nil || got.Last != limits.AuditFiles+5 || got.KeptHead != limits.AuditFiles+3 {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := os.Remove(got.Files[1]); err != nil {
		t.Fatal(err)
	}
	if _, err := CheckAuditLog(path, true, ""); !errors.Is(err, ErrAuditBroken) {
		t.Errorf("without a file in the middle: %v", err)
	}
}

// TestAuditTakenAway: an agent whose file was moved makes another one, and the gap
// shows.
func TestAuditTakenAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	a := openLog(t, path, 0)
	writeRecords(t, a, 2)
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	writeRecords(t, a, 2)
	if got, err := CheckAuditLog(path, true, ""); err != nil || got.First != 3 || got.Last != 4 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestAuditLocked: a process that holds the lock and does not go on does not hold the
// agent for ever.
func TestAuditLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	a := openLog(t, path, 0)
	other, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := lockFile(other, syscall.LOCK_EX, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := lockFile(a.f, syscall.LOCK_EX, time.Now().Add(10*time.Millisecond)); err == nil || !strings.Contains(err.Error(), "locked by another process") {
		t.Errorf("got %v", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		time.Sleep(20 * time.Millisecond)
		unlockFile(other)
	})
	writeRecords(t, a, 1)
	wg.Wait()
}

// TestCertificateRecord: a reader can tell alice from root.
func TestCertificateRecord(t *testing.T) {
	c := &ssh.Certificate{
		CertType: ssh.UserCert, Serial: 7, ValidPrincipals: []string{"alice", "root"},
		ValidAfter: 1, ValidBefore: 1_000_000_000,
	}
	want := &certificateRecord{Kind: "user", Serial: c.Serial, Principals: c.ValidPrincipals,
		ValidAfter: "1970-01-01T00:00:01Z", ValidBefore: "2001-09-09T01:46:40Z"}
	if diff := cmp.Diff(want, newCertificateRecord(c)); diff != "" {
		t.Error(diff)
	}
	for i := range 100 {
		c.ValidPrincipals = append(c.ValidPrincipals, strings.Repeat("x", 200)+fmt.Sprint(i))
	}
	if r := newCertificateRecord(c); len(r.Principals)+r.MorePrincipals != 102 || len(strings.Join(r.Principals, "")) > limits.AuditPrincipals || r.Principals[1] != "root" {
		t.Errorf("got %d and %d more", len(r.Principals), r.MorePrincipals)
	}
	c = &ssh.Certificate{CertType: ssh.HostCert, ValidBefore: ssh.CertTimeInfinity}
	if diff := cmp.Diff(&certificateRecord{Kind: "host", Principals: []string{}}, newCertificateRecord(c)); diff != "" {
		t.Error(diff)
	}
}

// TestCheckWhileTheFileIsSetAside: the file that a check waits for gets another name
// meanwhile.
func TestCheckWhileTheFileIsSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	a := openLog(t, path, 0)
	writeRecords(t, a, 3)
	if err := a.lock(time.Now()); err != nil {
		t.Fatal(err)
	}
	type result struct {
		found AuditCheck
		err   error
	}
	checked := make(chan result, 1)
	go func() {
		found, err := CheckAuditLog(path, true, "")
		checked <- result{found, err}
	}()
	time.Sleep(20 * limits.AuditRetry) // it waits
	if err := a.setAside(); err != nil {
		t.Fatal(err)
	}
	next := openLog(t, path, 0)
	writeRecords(t, next, 2)
	unlockFile(a.f)
	if got := <-checked; got.err != nil || got.found.Last != 5 || len(got.found.Files) != 2 {
		t.Errorf("got %+v, %v", got.found, got.err)
	}
}
