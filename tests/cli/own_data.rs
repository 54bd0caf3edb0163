//! Pictures and captions of one's own, from a table to a run, without writing beside them.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::stage::{capsmith, config, failure, files, init_clip, success};

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Makes a folder with photos of all EXIF orientations, the same pictures upright, and a table.
fn photos(folder: &Path) -> String {
    let set = folder.join("photos");
    fs::create_dir_all(&set).unwrap();
    let turned = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pictures/turned");
    let mut rows = String::from("photo,said\n");
    for orientation in 1..=8 {
        let name = format!("{orientation}.jpg");
        fs::copy(turned.join(&name), set.join(&name)).unwrap();
        let pixels = fs::read(turned.join(format!("{name}.rgb"))).unwrap();
        let (width, height) = if orientation < 5 { (23, 17) } else { (17, 23) };
        let head = format!("P6\n{width} {height}\n255\n");
        let upright = format!("{orientation}.ppm");
        fs::write(set.join(&upright), [head.as_bytes(), &pixels[8..]].concat()).unwrap();
        for name in [name, upright] {
            writeln!(rows, "{name},\"A picture, number {orientation}.\"").unwrap();
        }
    }
    fs::write(set.join("captions.csv"), rows).unwrap();
    text(&set)
}

/// Returns the rows of an embeddings file.
fn rows(embeddings: &str, folder: &Path) -> Vec<Vec<f32>> {
    let name = Path::new(embeddings).with_extension("npy");
    let out = text(&folder.join(name.file_name().unwrap()));
    success(&["export-features", embeddings, "--out", &out]);
    let bytes = fs::read(&out).unwrap();
    let values = bytes[bytes.len() - 16 * 24 * 4..].as_chunks::<4>().0;
    let values: Vec<f32> = values.iter().map(|&value| f32::from_le_bytes(value)).collect();
    values.chunks_exact(24).map(<[f32]>::to_vec).collect()
}

#[test]
fn a_table_of_photos_becomes_a_run_without_a_change_in_their_folder() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&folder.path().join(name));
    let set = photos(folder.path());
    let before = files(Path::new(&set));
    fs::set_permissions(&set, Permissions::from_mode(0o555)).unwrap();
    let table = format!("{set}/captions.csv");
    let columns = ["--image-column", "photo", "--caption-column", "said"];
    let own = [&["--dataset", &set, "--captions", &table][..], &columns].concat();
    let checked = [&["dataset", "check", &set, "--captions", &table][..], &columns].concat();

    let output = capsmith(&checked).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(&format!("no split applies to {set}")), "{error}");
    let none = String::from_utf8(output.stdout).unwrap();
    assert!(
        none.contains("(table layout)\ncaptions in  ") && none.contains("captions.csv"),
        "{none}"
    );
    assert!(none.contains("no split applies") && !none.contains("usable"), "{none}");
    let shown = success(&[&checked[..], &["--split", "80/10/10"]].concat()).stdout;
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("80/10/10  train 12, validation 2, test 2"), "{shown}");
    assert!(shown.contains("7 pictures lie on a side by EXIF; `precompute` turns them"), "{shown}");

    let (clip, gpt2, embeddings) = (at("clip"), at("gpt2"), at("e.safetensors"));
    init_clip(&clip, "24");
    let shape = ["--vocab-size", "300", "--hidden-size", "32", "--layers", "1", "--heads", "2"];
    let start = ["init", "gpt2", "--out", &gpt2, "--split", "80/10/10"];
    success(&[&start[..], &own, &shape].concat());
    success(&[&["precompute", "--clip", &clip, "--out", &embeddings][..], &own].concat());
    // Pickles and features of other programs are of the same table.
    let (pickle, features, again) = (at("e.pkl"), at("e.npy"), at("again.safetensors"));
    success(&[&["export", "--embeddings", &embeddings, "--out", &pickle][..], &own].concat());
    success(&[&["import", &pickle, "--out", &at("of_pickle.safetensors")][..], &own].concat());
    success(&["export-features", &embeddings, "--out", &features]);
    let import = ["import-features", &features, "--names", &at("e.txt"), "--encoder", "any"];
    success(&[&import[..], &["--out", &again], &own].concat());
    let other = tempfile::tempdir().unwrap();
    assert_eq!(rows(&again, other.path()), rows(&embeddings, other.path()));
    let keywords = at("keywords");
    let build = ["keywords", "build", "--categories", "wordnet", "--out", &keywords];
    success(&[&build[..], &own].concat());

    let (run, toml) = (at("run"), at("photos.toml"));
    let settings = format!(
        "base = {:?}\n[data]\ndataset = {set:?}\ncaptions = {table:?}\nimage_column = \"photo\"\n\
         caption_column = \"said\"\nsplit = \"80/10/10\"\nembeddings = {embeddings:?}\n\
         [gpt2]\nmodel = {gpt2:?}\n[training]\nepochs = 1\nbatch_size = 4\nscored_pictures = 2\n\
         threads = 1\n",
        config()
    );
    fs::write(&toml, settings).unwrap();
    let shown =
        String::from_utf8(success(&["dataset", "check", "--config", &toml]).stdout).unwrap();
    assert!(shown.contains("train 12, validation 2, test 2\n"), "{shown}");
    assert!(shown.contains("verdict      usable"), "{shown}");
    success(&["train", "--config", &toml, "--out", &run]);
    let saved = fs::read_to_string(format!("{run}/config.toml")).unwrap();
    assert!(saved.contains("split = \"80/10/10\"") && saved.contains("split_seed = 42"), "{saved}");
    success(&["evaluate", "--run", &run]);
    let large = ["train", "--config", &toml, "--set", "training.batch_size=40", "--out", &at("no")];
    let error = failure(&large);
    assert!(error.contains("training.batch_size, such as 12"), "{error}");

    // A photo is captioned as the same picture upright.
    let photo = |name: &str| format!("{set}/{name}");
    let (lying, upright) = (photo("6.jpg"), photo("6.ppm"));
    let captions = success(&["caption", "--run", &run, &lying, &upright, "--all"]).stdout;
    let captions = String::from_utf8(captions).unwrap();
    let after_path = |line: &str| line.split_once('\t').unwrap().1.to_owned();
    let captions: Vec<String> = captions.lines().map(after_path).collect();
    assert_eq!(captions[0], captions[1]);

    fs::set_permissions(&set, Permissions::from_mode(0o755)).unwrap();
    assert_eq!(files(Path::new(&set)), before, "nothing is written beside the pictures");
}

#[test]
fn embeddings_are_of_upright_pictures_but_for_flickrs_layouts_and_are_not_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| text(&folder.path().join(name));
    let set = photos(folder.path());
    let (table, clip) = (format!("{set}/captions.csv"), at("clip"));
    init_clip(&clip, "24");
    let kaggle = fs::read_to_string(&table).unwrap().replace("photo,said", "image,caption");
    fs::write(format!("{set}/captions.txt"), kaggle).unwrap();
    let columns = ["--image-column", "photo", "--caption-column", "said"];
    let precompute = ["precompute", "--dataset", &set, "--clip", &clip, "--out"];
    let (stored, upright) = (at("stored.safetensors"), at("upright.safetensors"));
    success(&[&precompute[..], &[&stored]].concat());
    let own = [&["--captions", &table][..], &columns].concat();
    success(&[&precompute[..], &[&upright], &own].concat());
    for (file, is_upright) in [(&stored, false), (&upright, true)] {
        let pairs = rows(file, folder.path());
        for (pair, orientation) in pairs.chunks(2).zip(1..=8) {
            let expected = is_upright || orientation == 1;
            let is_same = pair[0].iter().zip(&pair[1]).all(|(a, b)| (a - b).abs() < 1e-4);
            assert_eq!(is_same, expected, "orientation {orientation} of {file}");
        }
    }
    let contents = |file: &str| String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
    assert!(contents(&upright).contains("\\\"upright\\\":true"));
    assert!(!contents(&stored).contains("upright\\\""), "older files do not have it");
    let error = failure(&[&precompute[..], &[&stored], &own].concat());
    assert!(error.contains("EXIF orientation: not applied there, applied here"), "{error}");
    assert!(error.contains("hint: move it away"), "{error}");
}
