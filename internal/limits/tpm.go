package limits

import "time"

// Bounds of package tpm.
const (
	// TPMFrame is the largest command and answer. 4096 is the buffer of the
	// TPM reference code, of swtpm and of the kernel's driver.
	TPMFrame = 4096
	// TPMCommand is how long one command may take. The slowest ordinary
	// command known, an RSA primary on an old chip, takes 9 s.
	TPMCommand = 30 * time.Second
	// TPMKeyGeneration is the same for commands that search for primes: RSA-3072
	// takes minutes on some chips.
	TPMKeyGeneration = 5 * time.Minute
	// TPMRetry is how long, in all, a command is sent again because the TPM
	// asked for it. A full self-test takes seconds.
	TPMRetry = 20 * time.Second
	// TPMRetryPause is the longest pause between two such sendings: what a
	// person does not notice.
	TPMRetryPause = 250 * time.Millisecond
	// TPMDial is how long a software TPM may take to accept a connection: it
	// takes 3 ms, but accepts no second client while it serves a first.
	TPMDial = 5 * time.Second
	// TPMOpen is how long a TPM may take, after it was connected to, until no new
	// command of opening is begun: all of them together take milliseconds, and a
	// TPM that tests itself first takes up to TPMRetry.
	TPMOpen = 30 * time.Second
	// TPMClose is how long closing waits for the command in hand, and for those
	// that give back the TPM's slots, before the connection is cut.
	TPMClose = TPMCommand + 5*time.Second
	// TPMGiveUp is how much longer closing waits for whatever else is in hand,
	// such as the end of swtpm, which takes up to TPMExit.
	TPMGiveUp = 2 * TPMExit
	// TPMExit is how long swtpm may take to leave after its connection closed
	// (1 ms) before it is killed.
	TPMExit = 2 * time.Second
	// TPMDying is how long an swtpm whose agent was killed may take to leave its
	// folder: milliseconds, but on a busy machine.
	TPMDying = time.Second
	// TPMLockout is the longest wait after wrong PINs that we tell: the TPM
	// chooses the numbers, and a Duration holds not much more.
	TPMLockout = 1 << 31 * time.Second
	// TPMHandles is how many handles of a kind are asked for: TPMs have room for
	// three to some dozen objects and sessions. An answer with more is refused.
	TPMHandles = 64
	// TPMList is how many algorithms or curves are asked for: the TCG has given
	// out about 70 numbers.
	TPMList = 128
	// TPMSavedKeys is how many keys that had to be unloaded are kept as the TPM
	// wrapped them, each in up to TPMFrame: more than a person uses in turn.
	TPMSavedKeys = 64
	// TPMNVRead is how much of an NV index is read at once, in bytes. Every TPM
	// gives that much; few give more.
	TPMNVRead = 512
	// TPMCertificate is the largest EK certificate, template or nonce in a TPM's NV
	// memory, in bytes: certificates have up to 2 KiB, and makers pad them.
	TPMCertificate = 4 << 10
	// TPMChain is how much a TPM's certificates of issuers may have together, in
	// bytes: the eight of EvidenceIntermediates.
	TPMChain = 16 << 10
	// TPMPIN is the longest PIN, in octets: a TPM takes auth values up to the
	// size of the key's name hash, which is SHA-256.
	TPMPIN = 32
	// TPMKeyFile is the largest key file, in bytes: an RSA-3072 key takes 2 KiB.
	TPMKeyFile = 16 << 10
	// TPMKeyFileDepth is how deep the elements of a key file's unknown fields may be
	// nested: the known ones go three deep.
	TPMKeyFileDepth = 8
	// TPMFolderTick is how old the times of the key folder and of its files must be
	// to tell of every later change: the coarsest clock of a file system in use
	// counts two seconds.
	TPMFolderTick = 3 * time.Second
	// TPMSideFile is the largest NAME.pub and NAME.json, in bytes: an RSA-3072
	// line with the longest comment takes 1 KiB.
	TPMSideFile = 4 << 10
	// TPMCertificateFile is the largest NAME-cert.pub, in bytes: the principals and
	// options that CertPrincipals and CertOptionText allow, in base64.
	TPMCertificateFile = 128 << 10
	// TPMPins is the largest tpm.json, in bytes: hundreds of devices.
	TPMPins = 64 << 10
)
