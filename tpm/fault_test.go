package tpm_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/sealsmith/sealsmith/internal/hint"
	"github.com/sealsmith/sealsmith/internal/keytest"
	"github.com/sealsmith/sealsmith/internal/tpmtest"
	"github.com/sealsmith/sealsmith/key"
	"github.com/sealsmith/sealsmith/tpm"
)

// TestFaults disturbs each command of a first signature in each way. Without a
// PIN the signature is made all the same; and nothing is left in the TPM.
func TestFaults(t *testing.T) {
	kinds := map[string]tpmtest.Kind{
		"fail before": tpmtest.FailBefore, "fail after": tpmtest.FailAfter,
		"cut": tpmtest.Cut, "split": tpmtest.Split,
	}
	commands := []tpm2.TPMCC{
		tpm2.TPMCCGetCapability, tpm2.TPMCCReadPublic, tpm2.TPMCCCreatePrimary, tpm2.TPMCCStartAuthSession,
		tpm2.TPMCCLoad, tpm2.TPMCCFlushContext, tpm2.TPMCCSign,
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			chip := tpmtest.Start(t)
			dir := filepath.Join(t.TempDir(), "keys")
			first := backendOver(t, chip.Open(), dir, nil)
			create(t, first, "k", key.P256, nil)
			closed(t, first)
			for _, command := range commands {
				b := backendOver(t, chip.Open(), dir, nil)
				chip.Inject(tpmtest.Fault{On: command, Kind: kind})
				if err := sign(t.Context(), keytest.Only(t, b)); err != nil {
					t.Errorf("%v: %v", command, err)
				}
				closed(t, b)
			}
		})
	}
}

func TestForgedAnswerIsNotBelieved(t *testing.T) {
	chip := tpmtest.Start(t)
	s := create(t, newBackend(t, chip, nil), "k", key.P256, nil)
	mustSign(t, s)
	chip.Inject(tpmtest.Fault{On: tpm2.TPMCCSign, Kind: tpmtest.Garble})
	if err := sign(t.Context(), s); err == nil || !strings.Contains(err.Error(), "HMAC") {
		t.Errorf("a changed answer: %v", err)
	}
	mustSign(t, s)
}

func TestPINIsNotSentTwiceAfterALostAnswer(t *testing.T) {
	chip := tpmtest.Start(t)
	s := create(t, newBackend(t, chip, lend(t, "right")), "k", key.P256, []byte("right"))
	mustSign(t, s)
	chip.Commands()
	chip.Inject(tpmtest.Fault{On: tpm2.TPMCCSign, Kind: tpmtest.FailAfter})
	if err := sign(t.Context(), s); !errors.Is(err, key.ErrNoDevice) {
		t.Errorf("a lost answer: %v; want ErrNoDevice", err)
	}
	if got := chip.Commands(); len(got) != 1 {
		t.Errorf("commands %v, want one signature", got)
	}
	mustSign(t, s)
}

func TestPatience(t *testing.T) {
	chip := tpmtest.Start(t)
	s := create(t, newBackend(t, chip, lend(t, "right")), "k", key.P256, []byte("right"))
	mustSign(t, s)
	chip.Commands()
	for _, code := range []tpm2.TPMRC{tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCNVRate} {
		chip.Inject(tpmtest.Fault{On: tpm2.TPMCCSign, Kind: tpmtest.Answer, Code: code})
	}
	mustSign(t, s)
	if got := chip.Commands(); len(got) != 5 {
		t.Errorf("commands %v, want five times the same", got)
	}
}

func TestPatienceEndsWithTheContext(t *testing.T) {
	chip := tpmtest.Start(t)
	s := create(t, newBackend(t, chip, nil), "k", key.P256, nil)
	mustSign(t, s)
	chip.Inject(tpmtest.Fault{On: tpm2.TPMCCSign, Kind: tpmtest.Answer, Code: tpm2.TPMRCRetry, Times: 1000})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := sign(ctx, s); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// TestHandlesThatAreGone: somebody else, or a reset, unloaded what we hold.
func TestHandlesThatAreGone(t *testing.T) {
	for name, first := range map[string]uint32{"key": 0x80000000, "session": 0x02000000} {
		t.Run(name, func(t *testing.T) {
			chip := tpmtest.Start(t)
			s := create(t, newBackend(t, chip, lend(t, "right")), "k", key.P256, []byte("right"))
			mustSign(t, s)
			if _, err := (tpm2.FlushContext{FlushHandle: onlyHandle(t, chip, first)}).Execute(chip); err != nil {
				t.Fatal(err)
			}
			mustSign(t, s)
		})
	}
}

// TestHandleOfSomebodyElse: somebody unloaded our key, and his own has its handle now.
// Nothing is wrong with the PIN.
func TestHandleOfSomebodyElse(t *testing.T) {
	for name, pin := range map[string][]byte{"no PIN": nil, "PIN": []byte("right")} {
		t.Run(name, func(t *testing.T) {
			chip := tpmtest.Start(t)
			s := create(t, newBackend(t, chip, lend(t, "right")), "k", key.P256, pin)
			mustSign(t, s)
			ours := onlyHandle(t, chip, 0x80000000)
			if _, err := (tpm2.FlushContext{FlushHandle: ours}).Execute(chip); err != nil {
				t.Fatal(err)
			}
			primary := tpm2.CreatePrimary{
				PrimaryHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
				InPublic:      tpm2.New2B(tpm.StorageTemplate()),
			}
			var his []tpm2.TPMHandle
			for len(his) == 0 || his[len(his)-1] != ours {
				rsp, err := primary.Execute(chip)
				if err != nil {
					t.Fatal(err)
				}
				his = append(his, rsp.ObjectHandle)
			}
			if len(his) > 1 { // one slot is left to us, and one for the parent
				if _, err := (tpm2.FlushContext{FlushHandle: his[0]}).Execute(chip); err != nil {
					t.Fatal(err)
				}
			}
			chip.Commands()
			mustSign(t, s)
			mustSign(t, s)
			if got := chip.Commands(); tpmtest.Count(got, tpm2.TPMCCSign) != 3 {
				t.Errorf("commands %v; want one refused signature and two others", got)
			}
			if _, err := (tpm2.FlushContext{FlushHandle: ours}).Execute(chip); err != nil {
				t.Errorf("his object: %v", err)
			}
		})
	}
}

// TestSessionOfSomebodyElse: the same with the session. Whether the PIN or the session
// was wrong, nobody can tell, and one try may be counted; but no more.
func TestSessionOfSomebodyElse(t *testing.T) {
	unlike, like := []tpm2.AuthOption(nil), []tpm2.AuthOption{tpm2.AESEncryption(128, tpm2.EncryptIn)}
	for name, c := range map[string]struct {
		pin   []byte
		his   []tpm2.AuthOption
		count uint32
	}{
		"no PIN":                   {nil, unlike, 0},
		"no PIN and one like ours": {nil, like, 0},
		"PIN":                      {[]byte("right"), unlike, 0},
		"PIN and one like ours":    {[]byte("right"), like, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chip := tpmtest.Start(t)
			chip.ExpectLockout(c.count)
			s := create(t, newBackend(t, chip, lend(t, "right")), "k", key.P256, c.pin)
			mustSign(t, s)
			ours := onlyHandle(t, chip, 0x02000000)
			if _, err := (tpm2.FlushContext{FlushHandle: ours}).Execute(chip); err != nil {
				t.Fatal(err)
			}
			his, _, err := tpm2.HMACSession(chip, tpm2.TPMAlgSHA256, 16, c.his...)
			if err != nil || his.Handle() != ours {
				t.Fatalf("session %#x, want %#x: %v", his.Handle(), ours, err)
			}
			if err := sign(t.Context(), s); (err != nil) != (c.count != 0) {
				t.Errorf("the first: %v", err)
			}
			mustSign(t, s)
		})
	}
}

// onlyHandle is the one loaded object, or session, of the TPM.
func onlyHandle(t *testing.T, chip *tpmtest.TPM, first uint32) tpm2.TPMHandle {
	t.Helper()
	rsp, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 9}.Execute(chip)
	if err != nil {
		t.Fatal(err)
	}
	list, err := rsp.CapabilityData.Data.Handles()
	if err != nil || len(list.Handle) != 1 {
		t.Fatalf("handles %v, %v", list, err)
	}
	return list.Handle[0]
}

func TestFullTPM(t *testing.T) {
	chip := tpmtest.Start(t)
	b := newBackend(t, chip, nil)
	s, other := create(t, b, "k", key.P256, nil), create(t, b, "other", key.P256, nil)
	mustSign(t, s)
	chip.Inject(tpmtest.Fault{On: tpm2.TPMCCLoad, Kind: tpmtest.Answer, Code: tpm2.TPMRCObjectMemory})
	mustSign(t, other) // after evicting ours
	chip.Inject(tpmtest.Fault{On: tpm2.TPMCCLoad, Kind: tpmtest.Answer, Code: tpm2.TPMRCObjectMemory, Times: 2})
	third := create(t, b, "third", key.P256, nil)
	err := sign(t.Context(), third)
	if !errors.Is(err, tpm2.TPMRCObjectMemory) || len(hint.Of(err)) == 0 {
		t.Errorf("slots held by others: %v, hints %q", err, hint.Of(err))
	}
}

func TestWedgedTPM(t *testing.T) {
	chip := tpmtest.Start(t)
	dir := filepath.Join(t.TempDir(), "keys")
	maker := backendOver(t, chip.Open(), dir, nil)
	create(t, maker, "k", key.P256, nil)
	closed(t, maker)
	d := chip.Open()
	d.SetCommandLimit(tpm2.TPMCCSign, 500*time.Millisecond)
	s := keytest.Only(t, backendOver(t, d, dir, nil))
	mustSign(t, s)
	chip.Commands()
	chip.Inject(tpmtest.Fault{On: tpm2.TPMCCSign, Kind: tpmtest.Wedge})
	err := sign(t.Context(), s)
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, key.ErrNoDevice) || len(hint.Of(err)) == 0 {
		t.Errorf("a TPM that does not answer: %v, hints %q", err, hint.Of(err))
	}
	if got := chip.Commands(); len(got) != 1 {
		t.Errorf("commands %v: a TPM that does not answer must not be asked again at once", got)
	}
	mustSign(t, s)
}

func TestRestartedTPM(t *testing.T) {
	chip := tpmtest.Start(t)
	s := create(t, newBackend(t, chip, nil), "k", key.P256, nil)
	for range 3 {
		mustSign(t, s)
		chip.Kill()
		if err := sign(t.Context(), s); !errors.Is(err, key.ErrNoDevice) {
			t.Errorf("TPM is away: %v; want ErrNoDevice", err)
		}
		chip.Restart()
	}
	mustSign(t, s)
	chip.Kill()
	chip.Restart()
	mustSign(t, s) // it was never noticed
}

func TestKilledTPMCountsForKeysWithAPIN(t *testing.T) {
	chip := tpmtest.Start(t)
	chip.ExpectLockout(1)
	s := create(t, newBackend(t, chip, lend(t, "right")), "k", key.P256, []byte("right"))
	mustSign(t, s)
	chip.Kill()
	chip.Restart()
	mustSign(t, s)
}

// TestMalformedAnswers sends answers that go-tpm cannot parse, or panics on.
func TestMalformedAnswers(t *testing.T) {
	header := []byte{0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0}
	for name, answer := range map[string][]byte{
		"empty success":  header,
		"size too small": {0x80, 0x01, 0, 0, 0, 9, 0, 0, 0, 0},
		"size too large": {0x80, 0x01, 0, 0, 0x10, 1, 0, 0, 0, 0},
		"too much":       append(header[:10:10], 0),
		"odd content":    {0x80, 0x01, 0, 0, 0, 15, 0, 0, 0, 0, 1, 0, 0, 0, 6},
	} {
		t.Run(name, func(t *testing.T) {
			o := tpmtest.Folders(t)
			o.Device = fakeTPM(t, func([]byte) []byte { return answer })
			d, err := tpm.NewDevice(o)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if _, err := d.Status(t.Context()); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// TestEmptyAnswers: each question of status, answered by a success that says nothing.
func TestEmptyAnswers(t *testing.T) {
	chip := tpmtest.StartProvisioned(t)
	d := chip.Open()
	for skip := 0; ; skip++ {
		chip.Inject(tpmtest.Fault{On: tpm2.TPMCCGetCapability, Skip: skip, Kind: tpmtest.Change,
			Edit: func([]byte) []byte { return []byte{0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0} }})
		_, err := d.Status(t.Context())
		switch {
		case err == nil && skip > 5:
			return // there are no more
		case err == nil || !strings.Contains(err.Error(), "malformed answer from the TPM"):
			t.Fatalf("after %d questions: %v", skip, err)
		}
	}
}

func TestDoGivesTheTPM(t *testing.T) {
	d := tpmtest.Start(t).Open()
	err := d.Do(t.Context(), func(tpm transport.TPM) error {
		rsp, err := tpm2.GetRandom{BytesRequested: 16}.Execute(tpm)
		if err == nil && len(rsp.RandomBytes.Buffer) != 16 {
			err = fmt.Errorf("%d random bytes", len(rsp.RandomBytes.Buffer))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func closed(t *testing.T, b *tpm.Backend) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAlgorithmsOfATPMInFailureMode: a TPM that is out of order does not lack what it
// cannot do now.
func TestAlgorithmsOfATPMInFailureMode(t *testing.T) {
	chip := tpmtest.Start(t)
	b := newBackend(t, chip, nil)
	for _, code := range []tpm2.TPMRC{tpm2.TPMRCFailure, tpm2.TPMRCInitialize} {
		chip.Inject(tpmtest.Fault{On: tpm2.TPMCCTestParms, Kind: tpmtest.Answer, Code: code})
		_, err := b.Create(t.Context(), key.Spec{Name: "k", Usage: key.SSH, Algorithm: key.P256})
		if !errors.Is(err, code) || errors.Is(err, key.ErrUnsupported) || len(hint.Of(err)) == 0 {
			t.Errorf("%v: %v, hints %q", code, err, hint.Of(err))
		}
	}
}
