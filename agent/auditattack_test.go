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
)

// TestAuditForgedNumber: no number of somebody else's makes ours begin again, or files
// that are never found again.
func TestAuditForgedNumber(t *testing.T) {
	for _, number := range []string{"18446744073709551615", "999999999999"} {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		a := openLog(t, path, 0)
		writeRecords(t, a, 1)
		good := readLines(t, path)[0]
		forged := fmt.Sprintf(`%s%s{"seq":%s,"prev":"%s"}%s`, good, "\n", number, digestOf([]byte(good)), "\n")
		if err := os.WriteFile(path, []byte(forged), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := a.write(newRecord("sign", SocketSSH, Peer{})); err == nil || !strings.Contains(err.Error(), number) {
			t.Errorf("%s: %v", number, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		writeRecords(t, a, 1) // in a new file
	}
}

// TestAuditCutInPlace: what is cut off the file that the agent has open is missed by
// everybody, not only by those who kept a head.
func TestAuditCutInPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	a := openLog(t, path, 0)
	writeRecords(t, a, 3)
	if err := os.Truncate(path, int64(len(readLines(t, path)[0]))+1); err != nil {
		t.Fatal(err)
	}
	writeRecords(t, a, 2)
	if got, err := CheckAuditLog(path, true, ""); !errors.Is(err, ErrAuditBroken) {
		t.Errorf("a check finds %+v, %v", got, err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	writeRecords(t, a, 1)
	if got, err := CheckAuditLog(path, true, ""); err != nil || got.First != 6 || got.Last != 6 {
		t.Errorf("of an empty file a check finds %+v, %v", got, err)
	}
}

// TestAuditHeld: while another process holds the lock, those who wait for a record
// do so together, not one after the other.
func TestAuditHeld(t *testing.T) {
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
	const patience = 100 * time.Millisecond
	begun := time.Now()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := a.writeBefore(begun.Add(patience), newRecord("sign", SocketSSH, Peer{})); err == nil {
				t.Error("written")
			}
		})
	}
	all.Wait()
	if took := time.Since(begun); took >= 2*patience {
		t.Errorf("four waited %v", took)
	}
}
