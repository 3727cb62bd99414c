package tpm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/sealsmith/sealsmith/internal/limits"
)

// The NV indexes where makers keep what belongs to the EKs (TCG EK Credential
// Profile, section 2.2.1.4 and 2.2.1.5.3).
const (
	firstEKIndex    tpm2.TPMHandle = 0x01c00002
	firstChainIndex tpm2.TPMHandle = 0x01c00100
	lastChainIndex  tpm2.TPMHandle = 0x01c001ff
)

// readNV returns what is in an NV index, which may have up to limit bytes.
func (c *chip) readNV(index tpm2.TPMHandle, limit int) ([]byte, error) {
	data, err := c.readIndex(index, limit)
	if err != nil {
		return nil, fmt.Errorf("read NV index %#x: %w", uint32(index), err)
	}
	return data, nil
}

func (c *chip) readIndex(index tpm2.TPMHandle, limit int) ([]byte, error) {
	rsp, err := execute(c, tpm2.NVReadPublic{NVIndex: index})
	if err != nil {
		return nil, err
	}
	public, err := rsp.NVPublic.Contents()
	if err != nil {
		return nil, err
	}
	size := int(public.DataSize)
	if size > limit {
		return nil, fmt.Errorf("it has %d bytes, at most %d", size, limit)
	}
	named := tpm2.NamedHandle{Handle: index, Name: rsp.NVName}
	reader := named // with its own auth value, which is empty
	switch {
	// If it is not empty after all, the TPM must not count a wrong PIN.
	case public.Attributes.AuthRead && (public.Attributes.NoDA || !public.Attributes.OwnerRead):
	case public.Attributes.OwnerRead:
		reader = tpm2.NamedHandle{Handle: tpm2.TPMRHOwner, Name: tpm2.HandleName(tpm2.TPMRHOwner)}
	default:
		return nil, errors.New("it cannot be read without a policy")
	}
	data := make([]byte, 0, size)
	for len(data) < size {
		piece := min(size-len(data), limits.TPMNVRead)
		rsp, err := execute(c, tpm2.NVRead{
			AuthHandle: reader, NVIndex: named, Size: uint16(piece), Offset: uint16(len(data)),
		})
		if err != nil {
			return nil, err
		}
		if len(rsp.Data.Buffer) != piece {
			return nil, fmt.Errorf("%d bytes came, %d were asked for", len(rsp.Data.Buffer), piece)
		}
		data = append(data, rsp.Data.Buffer...)
	}
	return data, nil
}

// cutDER splits data after its first DER SEQUENCE, which is what a certificate is.
// Makers fill the rest of an NV index with zeros or ones.
func cutDER(data []byte) (der, rest []byte, found bool) {
	// 0x82: two octets of length, as every certificate has.
	if len(data) < 4 || data[0] != 0x30 || data[1] != 0x82 {
		return nil, data, false
	}
	size := 4 + int(binary.BigEndian.Uint16(data[2:4]))
	if size > len(data) {
		return nil, data, false
	}
	return data[:size:size], data[size:], true
}

// splitChain takes certificates apart that lie one after the other, with padding
// between and behind them.
func splitChain(data []byte) ([][]byte, error) {
	var all [][]byte
	for len(data) > 0 {
		if data[0] == 0 || data[0] == 0xff {
			data = data[1:]
			continue
		}
		der, rest, found := cutDER(data)
		if !found {
			return nil, errors.New("something that is no certificate")
		}
		if len(all) == limits.EvidenceIntermediates {
			return nil, fmt.Errorf("more than %d certificates", limits.EvidenceIntermediates)
		}
		all, data = append(all, der), rest
	}
	return all, nil
}
