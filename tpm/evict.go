package tpm

import (
	"slices"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/limits"
	"github.com/sealsmith/sealsmith/internal/logx"
)

// When more keys are in use than a TPM has slots, each use of one that is not loaded
// unloads another. The TPM wraps a key for itself before that, once (TPM2_ContextSave;
// TPM 2.0 part 1, section 30): from then on it comes back by one command, without its
// parent, which may have to be made anew by a slow CreatePrimary. So such a signature
// takes three commands: FlushContext, ContextLoad, Sign. Wrapped keys are good until
// the TPM is reset, and for this TPM only.

// savedKey is a key that was unloaded, as the TPM wrapped it.
type savedKey struct {
	loadedKey // its handle is good no more
	context   tpm2.TPMSContext
}

// makeRoom unloads the keys that were used longest ago until one more fits.
func (c *chip) makeRoom() {
	for len(c.keys) >= c.target.slots() {
		k := c.keys[0]
		c.keys = slices.Delete(c.keys, 0, 1)
		c.save(k)
		c.flush(k.handle)
	}
}

// save has a loaded key wrapped, if it was not before. Without that it takes longer
// to load, and no more.
func (c *chip) save(k loadedKey) {
	if slices.ContainsFunc(c.saved, func(s savedKey) bool { return s.is(k.object) }) {
		return
	}
	rsp, err := execute(c, tpm2.ContextSave{SaveHandle: k.handle})
	if err != nil {
		c.log.Debug("key cannot be saved", logx.Err, err)
		return
	}
	if len(c.saved) == limits.TPMSavedKeys {
		c.saved = slices.Delete(c.saved, 0, 1)
	}
	c.saved = append(c.saved, savedKey{k, rsp.Context})
}

// restore loads a key that was saved, if it was.
func (c *chip) restore(o *object) (h tpm2.TPMHandle, found bool, err error) {
	i := slices.IndexFunc(c.saved, func(s savedKey) bool { return s.is(o) })
	if i < 0 || c.session == nil { // see load
		return 0, false, nil
	}
	rsp, err := execute(c, tpm2.ContextLoad{Context: c.saved[i].context})
	switch {
	case err == nil:
		return rsp.LoadedHandle, true, nil
	case c.link == nil || c.ended() != nil || isFull(err):
		return 0, false, err
	}
	c.log.Debug("saved key cannot be loaded", logx.Err, err)
	c.saved = nil // the TPM was reset, say: the others are no better
	return 0, false, nil
}
