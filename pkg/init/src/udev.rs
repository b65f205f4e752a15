//! Links to the partitions of the disk that the running slot is on: another disk with the same labels, such as the
//! medium an image was installed from, must not be taken for it.

/// Label of a partition as udev has it, `?` for a character that it escapes → name of the link.
const LINKS: [(&str, &str); 5] =
    [("EFI?x20System", "EFI"), ("IMGA", "IMGA"), ("IMGB", "IMGB"), ("CONFIG", "CONFIG"), ("P3", "P3")];

/// The udev rules for the disk with the number `major:minor`. They come after `60-persistent-storage.rules`, which finds
/// out the labels.
pub(crate) fn rules(disk_number: &str) -> String {
    let mut text = String::from("ACTION==\"remove\", GOTO=\"evek_end\"\nSUBSYSTEM!=\"block\", GOTO=\"evek_end\"\n");
    let (major, minor) = disk_number.split_once(':').unwrap_or((disk_number, ""));
    text += &format!(
        "ENV{{DEVTYPE}}==\"disk\", ENV{{MAJOR}}==\"{major}\", ENV{{MINOR}}==\"{minor}\", SYMLINK+=\"disk/evek/disk\"\n"
    );
    for (label, link) in LINKS {
        text += &format!(
            "ENV{{DEVTYPE}}==\"partition\", ENV{{ID_PART_ENTRY_DISK}}==\"{disk_number}\", \
             ENV{{ID_PART_ENTRY_NAME}}==\"{label}\", SYMLINK+=\"disk/evek/{link}\"\n"
        );
    }
    text += "LABEL=\"evek_end\"\n";
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn links_are_for_one_disk_only() {
        assert_eq!(
            super::rules("254:16"),
            r#"ACTION=="remove", GOTO="evek_end"
SUBSYSTEM!="block", GOTO="evek_end"
ENV{DEVTYPE}=="disk", ENV{MAJOR}=="254", ENV{MINOR}=="16", SYMLINK+="disk/evek/disk"
ENV{DEVTYPE}=="partition", ENV{ID_PART_ENTRY_DISK}=="254:16", ENV{ID_PART_ENTRY_NAME}=="EFI?x20System", SYMLINK+="disk/evek/EFI"
ENV{DEVTYPE}=="partition", ENV{ID_PART_ENTRY_DISK}=="254:16", ENV{ID_PART_ENTRY_NAME}=="IMGA", SYMLINK+="disk/evek/IMGA"
ENV{DEVTYPE}=="partition", ENV{ID_PART_ENTRY_DISK}=="254:16", ENV{ID_PART_ENTRY_NAME}=="IMGB", SYMLINK+="disk/evek/IMGB"
ENV{DEVTYPE}=="partition", ENV{ID_PART_ENTRY_DISK}=="254:16", ENV{ID_PART_ENTRY_NAME}=="CONFIG", SYMLINK+="disk/evek/CONFIG"
ENV{DEVTYPE}=="partition", ENV{ID_PART_ENTRY_DISK}=="254:16", ENV{ID_PART_ENTRY_NAME}=="P3", SYMLINK+="disk/evek/P3"
LABEL="evek_end"
"#
        );
    }
}
