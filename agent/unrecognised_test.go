package agent

import (
	"testing"

	"github.com/sealsmith/sealsmith/key"
)

// TestUnrecognised: only the rule with the ugly name has a login key sign what nobody
// can name, only a login key, and only for this machine.
func TestUnrecognised(t *testing.T) {
	rules := map[key.ID]Rule{}
	h := start(t, func(c *Config) { c.Rules = rules })
	h.person.confirm = yes
	data := []byte("of no known kind")
	keys := map[key.Usage]key.Info{}
	for _, usage := range []key.Usage{key.SSH, key.SSHCA, key.SSHHost} {
		keys[usage] = h.key(key.Spec{Name: string(usage), Usage: usage})
	}
	client, _ := h.dialSSH()
	signs := func(usage key.Usage) bool {
		t.Helper()
		_, err := client.Sign(sshKey(t, keys[usage]), data)
		if r := h.lastRecord(); r.Form != FormUnrecognised || (r.Outcome == outcomeDone) != (err == nil) {
			t.Errorf("%s: audit %+v", usage, r)
		}
		return err == nil
	}
	if signs(key.SSH) {
		t.Error("signed without the rule")
	}
	for _, in := range keys {
		rules[in.ID] = Rule{AllowUnrecognizedUnsafe: true}
	}
	for usage, want := range map[key.Usage]bool{key.SSH: true, key.SSHCA: false, key.SSHHost: false} {
		if signs(usage) != want {
			t.Errorf("%s: signed is not %v", usage, want)
		}
	}
	if _, err := client.Sign(sshKey(t, keys[key.SSH]), make([]byte, 32)); err == nil {
		t.Error("signed what a host key signs")
	}
	if _, err := client.Extension(extensionBind, newHost(t).bind(t, []byte("session"), true)); err != nil {
		t.Fatal(err)
	}
	if signs(key.SSH) {
		t.Error("signed for a server")
	}
}
