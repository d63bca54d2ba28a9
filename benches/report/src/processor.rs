//! What kind a processor is: the name of its cores, which the brand often hides. `AMD EPYC` is every one since Zen.

/// The kind by what Linux says of the first core, such as `AMD Zen 5`; of one that isn't known, maker and numbers.
#[must_use]
pub fn kind(cpuinfo: &str) -> Option<String> {
    let field = |name: &str| {
        let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
    };
    let number = |name: &str| field(name)?.parse::<u32>().ok();
    let hexadecimal = |name: &str| u32::from_str_radix(field(name)?.trim_start_matches("0x"), 16).ok();
    if let (Some(maker), Some(part)) = (hexadecimal("CPU implementer"), hexadecimal("CPU part")) {
        return Some(arm(maker, part).map_or_else(|| format!("ARM {maker:x}-{part:x}"), str::to_owned));
    }
    let (maker, family, model) = (field("vendor_id")?, number("cpu family")?, number("model")?);
    let known = match maker {
        "AuthenticAMD" => amd(family, model),
        "GenuineIntel" => intel(family, model),
        _ => None,
    };
    Some(known.map_or_else(|| format!("{maker} {family}-{model}"), str::to_owned))
}

fn amd(family: u32, model: u32) -> Option<&'static str> {
    Some(match (family, model) {
        (0x17, 0x30..) => "AMD Zen 2",
        (0x17, _) => "AMD Zen",
        (0x19, 0x10..=0x1f | 0x60..=0xaf) => "AMD Zen 4",
        (0x19, _) => "AMD Zen 3",
        (0x1a, _) => "AMD Zen 5",
        _ => return None,
    })
}

fn intel(family: u32, model: u32) -> Option<&'static str> {
    Some(match (family, model) {
        (6, 0x4f | 0x56) => "Intel Broadwell",
        // One number for three generations that differ in their instructions, which stand beside this name.
        (6, 0x55) => "Intel Skylake to Cooper Lake",
        (6, 0x6a | 0x6c) => "Intel Ice Lake",
        (6, 0x8f) => "Intel Sapphire Rapids",
        (6, 0xcf) => "Intel Emerald Rapids",
        (6, 0xad | 0xae) => "Intel Granite Rapids",
        (6, 0xaf) => "Intel Sierra Forest",
        _ => return None,
    })
}

fn arm(maker: u32, part: u32) -> Option<&'static str> {
    Some(match (maker, part) {
        (0x41, 0xd0c) => "ARM Neoverse N1",
        (0x41, 0xd40) => "ARM Neoverse V1",
        (0x41, 0xd49) => "ARM Neoverse N2",
        (0x41, 0xd4f) => "ARM Neoverse V2",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_the_name_of_its_cores() {
        let x86 = |maker: &str, family: u32, model: u32| {
            kind(&format!(
                "processor\t: 0\nvendor_id\t: {maker}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: X\n"
            ))
        };
        assert_eq!(x86("AuthenticAMD", 26, 2).as_deref(), Some("AMD Zen 5"));
        assert_eq!(x86("AuthenticAMD", 25, 1).as_deref(), Some("AMD Zen 3"));
        assert_eq!(x86("AuthenticAMD", 25, 17).as_deref(), Some("AMD Zen 4"));
        assert_eq!(x86("GenuineIntel", 6, 143).as_deref(), Some("Intel Sapphire Rapids"));
        assert_eq!(x86("GenuineIntel", 6, 1).as_deref(), Some("GenuineIntel 6-1"));
        let arm = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n";
        assert_eq!(kind(arm).as_deref(), Some("ARM Neoverse V1"));
        assert_eq!(kind(""), None);
    }
}
