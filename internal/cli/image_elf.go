package cli

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/sealsmith/sealsmith/oci"
)

// machines are those that an ELF file of a platform's architecture is for.
var machines = map[string]elf.Machine{
	"386": elf.EM_386, "amd64": elf.EM_X86_64, "arm": elf.EM_ARM, "arm64": elf.EM_AARCH64,
	"ppc64le": elf.EM_PPC64, "riscv64": elf.EM_RISCV, "s390x": elf.EM_S390,
}

// checkProgram refuses an ELF file that was built for another architecture: the mistake
// would show only where the image runs. What is no ELF file is the caller's to know.
func checkProgram(path string, platform oci.Platform) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	header := make([]byte, 20) // up to e_machine
	if _, err := io.ReadFull(f, header); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	} else if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if string(header[:len(elf.ELFMAG)]) != elf.ELFMAG {
		return nil
	}
	order, data := binary.ByteOrder(binary.LittleEndian), elf.ELFDATA2LSB
	if platform.Architecture == "s390x" {
		order, data = binary.BigEndian, elf.ELFDATA2MSB
	}
	machine := elf.Machine(order.Uint16(header[18:]))
	if machine != machines[platform.Architecture] || elf.Data(header[elf.EI_DATA]) != data {
		return usageError(fmt.Errorf("%s is no program for %s", path, platform))
	}
	return nil
}
