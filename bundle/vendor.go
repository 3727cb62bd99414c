package bundle

// vendors is the TCG TPM Vendor ID Registry, version 1.07 revision 0.02,
// without the padding of the ids.
// https://trustedcomputinggroup.org/resource/vendor-id-registry/
var vendors = map[string]string{
	"AMD":  "AMD",
	"ANT":  "Ant Group",
	"ATML": "Atmel",
	"BRCM": "Broadcom",
	"CSCO": "Cisco",
	"FLYS": "Flyslice Technologies",
	"GOOG": "Google",
	"HISI": "Huawei",
	"HPE":  "HPE",
	"HPI":  "HPI",
	"IBM":  "IBM",
	"IFX":  "Infineon",
	"INTC": "Intel",
	"LEN":  "Lenovo",
	"MSFT": "Microsoft",
	"NSG":  "NSING",
	"NSM":  "National Semiconductor",
	"NTC":  "Nuvoton Technology",
	"NTZ":  "Nationz",
	"QCOM": "Qualcomm",
	"ROCC": "Fuzhou Rockchip",
	"SEAL": "Wisekey",
	"SECE": "SecEdge",
	"SMSC": "SMSC",
	"SMSN": "Samsung",
	"SNS":  "Sinosun",
	"STM":  "STMicroelectronics",
	"TXN":  "Texas Instruments",
	"WEC":  "Winbond",
}

// VendorName is the name that the TCG registry gives a vendor id such as
// "IFX", and whether the id is registered.
func VendorName(id string) (name string, ok bool) {
	name, ok = vendors[id]
	return name, ok
}
