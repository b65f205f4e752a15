use super::*;

const MOUNTINFO: &str = "\
21 1 0:20 / / ro,relatime - overlay overlay ro,lowerdir=/run/evek/layers/aa
40 25 0:40 / /run/evek/layers/aa ro,nodev,relatime shared:2 - erofs /run/evek/store/blobs/sha256/aa ro,user_xattr
41 25 0:41 / /run/evek/layers/bb ro,nodev,relatime shared:3 - erofs /run/evek/store/blobs/sha256/bb ro,user_xattr
";

fn layers() -> Vec<LayerMount> {
    let layer = |name: &str| LayerMount {
        folder: format!("/run/evek/layers/{name}").into(),
        blob: format!("/run/evek/store/blobs/sha256/{name}").into(),
    };
    vec![layer("aa"), layer("bb")]
}

fn overlay(options: &[&str]) -> Vec<Mount> {
    let options = options.iter().map(|o| (*o).to_owned()).collect();
    vec![Mount { r#type: "overlay".into(), source: "overlay".into(), target: String::new(), options }]
}

const LOWER: &str = "lowerdir=/run/evek/layers/bb:/run/evek/layers/aa";
const UPPER: &str = "upperdir=/run/evek/snapshots/3/fs";
const WORK: &str = "workdir=/run/evek/snapshots/3/work";

fn verify(mounts: &[Mount]) -> Result<(), RootError> {
    let layers = layers();
    Root { layers: &layers, writable: Some(Path::new("/run/evek/snapshots")) }.verify(mounts, MOUNTINFO)
}

#[test]
fn the_images_layers_in_their_order_are_accepted() {
    assert_eq!(verify(&overlay(&["index=off", WORK, UPPER, LOWER])), Ok(()));
    let layers = layers();
    let view = Root { layers: &layers, writable: None };
    assert_eq!(view.verify(&overlay(&["index=off", LOWER]), MOUNTINFO), Ok(()));
    let bind = |options: &[&str]| Mount {
        r#type: "bind".into(),
        source: "/run/evek/layers/aa".into(),
        ..overlay(options)[0].clone()
    };
    let one = Root { layers: &layers[..1], writable: None };
    assert_eq!(one.verify(&[bind(&["ro", "rbind"])], MOUNTINFO), Ok(()));
    assert!(one.verify(&[bind(&["rbind"])], MOUNTINFO).is_err());
    assert!(one.verify(&[bind(&["ro", "exec"])], MOUNTINFO).is_err());
}

#[test]
fn a_foreign_layer_or_another_order_is_refused() {
    for lower in [
        "lowerdir=/persist/stored/7/fs:/run/evek/layers/aa",
        "lowerdir=/run/evek/layers/aa:/run/evek/layers/bb",
        "lowerdir=/persist/stored/7/fs:/run/evek/layers/bb:/run/evek/layers/aa",
        "lowerdir=/run/evek/layers/bb",
        "lowerdir=/run/evek/layers/bb:/run/evek/layers/../../../persist/x",
        "lowerdir=",
    ] {
        let error = verify(&overlay(&["index=off", WORK, UPPER, lower])).unwrap_err();
        assert!(matches!(error, RootError::Layers { .. }), "{lower}: {error}");
    }
    let text = verify(&overlay(&[WORK, UPPER, "lowerdir=/persist/stored/7/fs"])).unwrap_err().to_string();
    assert_eq!(
        text,
        "its root consists of /persist/stored/7/fs, but the image's layers in the store are \
         /run/evek/layers/bb:/run/evek/layers/aa"
    );
    assert!(matches!(verify(&overlay(&["index=off", WORK, UPPER])), Err(RootError::Layers { .. })));
}

#[test]
fn other_mounts_and_options_are_refused() {
    let good = overlay(&[WORK, UPPER, LOWER]);
    assert!(matches!(verify(&[]), Err(RootError::Shape { .. })));
    assert!(matches!(verify(&[good[0].clone(), good[0].clone()]), Err(RootError::Shape { .. })));
    let bind = Mount { r#type: "bind".into(), source: "/persist/x".into(), ..good[0].clone() };
    assert!(matches!(verify(&[bind]), Err(RootError::Shape { .. })));
    let elsewhere = Mount { target: "/usr".into(), ..good[0].clone() };
    assert!(matches!(verify(&[elsewhere]), Err(RootError::Shape { .. })));
    for option in ["lowerdir+=/persist/x", "datadir+=/persist/x", "redirect_dir=on", LOWER, UPPER, "exec"] {
        let error = verify(&overlay(&[WORK, UPPER, LOWER, option])).unwrap_err();
        assert_eq!(error, RootError::Option { found: option.to_owned() });
    }
}

#[test]
fn writes_go_to_a_snapshot_only() {
    for upper in [
        "upperdir=/persist/stored/3/fs",
        "upperdir=/run/evek/snapshots/../x/fs",
        "upperdir=/run/evek/snapshots/3/4/fs",
        "upperdir=/run/evek/snapshots/fs",
        "upperdir=/run/evek/snapshots/3/work",
    ] {
        let error = verify(&overlay(&[WORK, upper, LOWER])).unwrap_err();
        assert!(matches!(error, RootError::Writable { .. }), "{upper}: {error}");
    }
    assert!(matches!(verify(&overlay(&[LOWER])), Err(RootError::Shape { .. })));
    let layers = layers();
    let view = Root { layers: &layers, writable: None };
    assert!(view.verify(&overlay(&[WORK, UPPER, LOWER]), MOUNTINFO).is_err());
}

#[test]
fn a_layers_folder_shows_the_stores_blob() {
    let layers = layers();
    let good = overlay(&[WORK, UPPER, LOWER]);
    let root = Root { layers: &layers, writable: Some(Path::new("/run/evek/snapshots")) };
    let over = |line: &str| format!("{MOUNTINFO}{line}\n");
    for mountinfo in [
        String::new(),
        over("50 25 8:9 /x /run/evek/layers/bb ro,relatime - ext4 /dev/sda9 rw"),
        over("50 25 0:41 / /run/evek/layers/bb ro - erofs /persist/blob ro"),
        over("50 25 0:41 /usr /run/evek/layers/bb ro - erofs /run/evek/store/blobs/sha256/bb ro"),
        over("50 25 0:41 / /run/evek/layers/bb rw - erofs /run/evek/store/blobs/sha256/bb ro"),
        over("50 25 0:41 / /run/evek/layers/bb"),
    ] {
        let error = root.verify(&good, &mountinfo).unwrap_err();
        assert!(matches!(error, RootError::NotMounted { .. }), "{mountinfo}: {error}");
    }
    let text = root.verify(&good, &over("50 25 8:9 /x /run/evek/layers/bb ro - ext4 /dev/sda9 rw")).unwrap_err();
    assert_eq!(
        text.to_string(),
        "/run/evek/layers/bb shows the ext4 file system /dev/sda9 (root /x, ro), expected the read-only EROFS image \
         /run/evek/store/blobs/sha256/bb"
    );
}
