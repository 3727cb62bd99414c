package cli

import (
	"strings"
	"testing"

	"github.com/sealsmith/sealsmith/tpm"
)

// TestWrongPINs: what status says of a TPM's protection against guessing, also
// where a zero does not mean no time (TPM 2.0 part 3, TPM2_DictionaryAttackParameters).
func TestWrongPINs(t *testing.T) {
	for name, c := range map[string]struct {
		lockout tpm.Lockout
		want    string
	}{
		"open": {
			tpm.Lockout{Counter: 1, MaxTries: 3, TriesLeft: 2, IntervalSeconds: 1000, RecoverySeconds: 1000},
			`tries: 2 left of 3, for the keys of all programs together
			forgotten: one every 16m40s
			reset: with the lockout password; a wrong one bars it for 16m40s`,
		},
		"locked": {
			tpm.Lockout{Locked: true, Counter: 3, MaxTries: 3, IntervalSeconds: 60, RecoverySeconds: 3600, WaitSeconds: 60},
			`tries: none left of 3
			next try: in at most 1m0s
			forgotten: one every 1m0s
			reset: with the lockout password; a wrong one bars it for 1h0m0s`,
		},
		"lockout password barred until a restart": {
			tpm.Lockout{MaxTries: 3, TriesLeft: 3, IntervalSeconds: 60},
			`tries: 3 left of 3, for the keys of all programs together
			forgotten: one every 1m0s
			reset: with the lockout password; a wrong one bars it until the TPM restarts`,
		},
		"switched off": {
			tpm.Lockout{MaxTries: 3, TriesLeft: 3, RecoverySeconds: 60},
			`tries: as many as somebody likes: this TPM was told not to count them`,
		},
	} {
		var got []string
		for _, row := range lockoutRows(c.lockout) {
			got = append(got, row[0]+": "+row[1])
		}
		if text := strings.Join(got, "\n"); text != strings.ReplaceAll(c.want, "\t", "") {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}
