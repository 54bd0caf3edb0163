//! Rows of images, and images that cannot be decoded.

use std::fs;
use std::path::Path;

use precompute::{Dtype, Embeddings, Error, Plan, run};
use progress::Silent;
use tch::{Device, IndexOp as _, Kind, Tensor};

use crate::BATCHES;
use crate::support::{BATCH, DataSet, PICTURES, Watcher, encode, name, run_plain};

fn rows(path: &Path) -> Vec<Vec<f32>> {
    Embeddings::open(path).unwrap().tensor(Device::Cpu).unwrap().try_into().unwrap()
}

#[test]
fn each_row_is_of_the_picture_of_its_name() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    let plan = data.plan(&output);
    run_plain(&plan).unwrap();
    let embeddings = Embeddings::open(&output).unwrap();
    assert_eq!(embeddings.names(), (0..PICTURES).map(name).collect::<Vec<_>>());
    assert_eq!(embeddings.identity(), &plan.identity);
    assert_eq!(embeddings.dimension(), 5);
    let rows = rows(&output);
    for (index, name) in plan.names.iter().enumerate() {
        let row = embeddings.row_of(name).unwrap();
        let picture = pictures::decode(&data.path(name)).unwrap();
        let pixels = plan.identity.preprocessing.as_ref().unwrap().apply(&picture);
        let batch = BATCH.min(PICTURES - index / BATCH * BATCH);
        for (channel, plane) in pixels.chunks(16).enumerate() {
            let mean = plane.iter().sum::<f32>() / 16.0;
            assert!((rows[row][channel] - mean).abs() < 1e-5, "{name}");
        }
        assert_eq!(rows[row][3..], [(index % BATCH) as f32, batch as f32], "{name}");
    }
    assert_eq!(embeddings.row_of("picture 99.png"), None);
}

#[test]
fn pictures_that_cannot_be_decoded_are_named_with_what_to_do() {
    let data = DataSet::new();
    fs::write(data.path(&name(9)), "<html>").unwrap();
    fs::remove_file(data.path(&name(10))).unwrap();
    let output = data.path("out.safetensors");
    let error = run_plain(&data.plan(&output)).unwrap_err();
    let Error::Pictures(bad) = &error else { panic!("{error}") };
    assert_eq!(bad.iter().map(|bad| bad.name.clone()).collect::<Vec<_>>(), [name(9), name(10)]);
    let error = error.to_string();
    assert!(error.contains("picture 09.png: is not a JPEG"), "{error}");
    assert!(error.contains("--skip-corrupt"), "{error}");
    assert!(!output.exists());

    let plan = Plan { skip_corrupt: true, ..data.plan(&output) };
    let summary = run_plain(&plan).unwrap();
    assert_eq!(summary.resumed, 2 * BATCH, "the batches before the bad picture are kept");
    assert_eq!(summary.encoded, PICTURES - 2 - 2 * BATCH);
    assert_eq!(summary.skipped.len(), 2);
    assert_eq!(fs::read(&output).unwrap(), data.uninterrupted(true));
}

#[test]
fn skipped_pictures_have_no_row_and_shift_no_other() {
    let whole = DataSet::new();
    let expected = whole.path("whole.safetensors");
    run_plain(&whole.plan(&expected)).unwrap();
    let expected = rows(&expected);

    let data = DataSet::new();
    // The first and last of a batch, a whole batch, and the very last picture.
    let bad = [0, 7, 12, 13, 14, 15, 42];
    for index in bad {
        fs::write(data.path(&name(index)), "").unwrap();
    }
    let output = data.path("out.safetensors");
    let mut watcher = Watcher::default();
    let plan = Plan { skip_corrupt: true, ..data.plan(&output) };
    let summary = run(&plan, encode, &mut watcher, &false.into()).unwrap();
    assert_eq!(watcher.seen.last(), Some(&(PICTURES, PICTURES)));
    assert_eq!(summary.skipped.len(), bad.len());

    let embeddings = Embeddings::open(&output).unwrap();
    assert_eq!(embeddings.skipped(), summary.skipped);
    assert!(embeddings.skipped().iter().all(|skipped| skipped.reason == "the file is empty"));
    let rows = rows(&output);
    assert_eq!(rows.len(), PICTURES - bad.len());
    for (index, expected) in expected.iter().enumerate() {
        match embeddings.row_of(&name(index)) {
            None => assert!(bad.contains(&index)),
            Some(row) => assert_eq!(rows[row][..3], expected[..3], "{}", name(index)),
        }
    }
}

#[test]
fn a_run_that_skipped_is_taken_up_only_by_one_that_may_skip() {
    let data = DataSet::new();
    fs::write(data.path(&name(1)), "").unwrap();
    let output = data.path("out.safetensors");
    let skipping = Plan { skip_corrupt: true, ..data.plan(&output) };
    crate::support::run_until(&skipping, 2).0.unwrap_err();
    for _ in 0..2 {
        // First the unfinished run, then the finished one.
        let error = run_plain(&data.plan(&output)).unwrap_err();
        assert!(matches!(error, Error::LeavesOut { .. }), "{error}");
        assert!(error.to_string().contains("picture 01.png"), "{error}");
        run_plain(&skipping).unwrap();
    }
}

#[test]
fn nothing_is_written_when_no_picture_can_be_decoded() {
    let data = DataSet::new();
    for index in 0..PICTURES {
        fs::write(data.path(&name(index)), "").unwrap();
    }
    let output = data.path("out.safetensors");
    let error = run_plain(&Plan { skip_corrupt: true, ..data.plan(&output) }).unwrap_err();
    assert!(matches!(error, Error::NothingLeft(PICTURES)), "{error}");
    assert!(!output.exists());
}

#[test]
fn normalised_rows_have_length_one_and_keep_their_direction() {
    let data = DataSet::new();
    let (raw, unit) = (data.path("raw.safetensors"), data.path("unit.safetensors"));
    run_plain(&data.plan(&raw)).unwrap();
    let mut plan = data.plan(&unit);
    plan.identity.normalize = true;
    run_plain(&plan).unwrap();
    for (raw, unit) in rows(&raw).iter().zip(rows(&unit)) {
        let norm = raw.iter().map(|value| value * value).sum::<f32>().sqrt();
        assert!((norm - 1.0).abs() > 0.1, "the raw row must not be of length one already");
        for (raw, unit) in raw.iter().zip(unit) {
            assert!((raw / norm - unit).abs() < 1e-6);
        }
    }
}

#[test]
fn the_encoder_gets_the_planned_type_and_no_gradients_and_rows_are_f32() {
    let data = DataSet::new();
    for dtype in [Dtype::F16, Dtype::Bf16] {
        let output = data.path(&format!("{dtype}.safetensors"));
        let mut plan = data.plan(&output);
        plan.identity.dtype = dtype;
        let encoder = |pixels: &Tensor| {
            assert_eq!(pixels.kind(), precompute::kind_of(dtype));
            assert_eq!(pixels.size()[1..], [3, 4, 4]);
            let weight = Tensor::ones([1], (precompute::kind_of(dtype), Device::Cpu))
                .set_requires_grad(true);
            let out = pixels.i((.., .., 0, 0)) * weight;
            assert!(!out.requires_grad());
            Tensor::f_cat(&[&out, &out.i((.., ..2))], 1)
        };
        run(&plan, encoder, &mut Silent, &false.into()).unwrap();
        let pixels = plan
            .identity
            .preprocessing
            .as_ref()
            .unwrap()
            .apply(&pictures::decode(&data.path(&name(0))).unwrap());
        let rounded = Tensor::from_slice(&pixels[..1])
            .to_kind(precompute::kind_of(dtype))
            .to_kind(Kind::Float);
        assert_eq!(rows(&output)[0][..1], Vec::<f32>::try_from(rounded).unwrap());
        assert_eq!(
            Embeddings::open(&output).unwrap().tensor(Device::Cpu).unwrap().kind(),
            Kind::Float
        );
    }
}

#[test]
fn embeddings_that_are_not_finite_are_refused_with_the_pictures_named() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut calls = 0;
        let encoder = |pixels: &Tensor| {
            calls += 1;
            let rows = encode(pixels)?;
            if calls == 2 {
                let _ = rows.i((1, 4)).f_fill_(bad)?;
            }
            Ok::<_, tch::TchError>(rows)
        };
        let error = run(&data.plan(&output), encoder, &mut Silent, &false.into()).unwrap_err();
        let Error::NotFinite(names) = &error else { panic!("{error}") };
        assert_eq!(names, &[name(BATCH + 1)]);
        fs::remove_dir_all(data.path("out.safetensors.partial")).unwrap();
    }
    // A zero embedding has no direction.
    let mut plan = data.plan(&output);
    plan.identity.normalize = true;
    let zeros =
        |pixels: &Tensor| Tensor::f_zeros([pixels.size()[0], 5], (Kind::Float, Device::Cpu));
    let error = run(&plan, zeros, &mut Silent, &false.into()).unwrap_err();
    assert!(matches!(error, Error::NotFinite(names) if names.len() == BATCH));
}

#[test]
fn an_encoder_that_fails_or_gives_another_shape_is_reported() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    let failing = |_: &Tensor| Err(std::io::Error::other("out of memory"));
    let error =
        run(&data.plan(&output), failing, &mut Silent, &false.into()).unwrap_err().to_string();
    assert!(error.contains("picture 00.png to picture 03.png: out of memory"), "{error}");

    let wide = |pixels: &Tensor| Tensor::f_zeros([pixels.size()[0], 6], (Kind::Float, Device::Cpu));
    let error = run(&data.plan(&output), wide, &mut Silent, &false.into()).unwrap_err();
    assert!(matches!(&error, Error::Shape { expected: [4, 5], got } if got == &[4, 6]), "{error}");
}

#[test]
fn plans_that_cannot_be_carried_out_are_refused_before_anything_is_written() {
    type Change = fn(&mut Plan);
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    let changes: [(&str, Change); 5] = [
        ("no pictures", |plan| plan.names.clear()),
        ("batch size", |plan| plan.batch_size = 0),
        ("at least one value", |plan| plan.identity.dimension = 0),
        ("picture 03.png twice", |plan| plan.names[8] = name(3)),
        ("not the name of a file", |plan| plan.output = Path::new("/")),
    ];
    for (words, change) in changes {
        let mut plan = data.plan(&output);
        change(&mut plan);
        let error = run_plain(&plan).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(!data.path("out.safetensors.partial").exists());
}

#[test]
fn progress_starts_with_what_was_resumed_and_ends_with_all() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    crate::support::run_until(&data.plan(&output), 3).0.unwrap_err();
    let mut watcher = Watcher::default();
    run(&data.plan(&output), encode, &mut watcher, &false.into()).unwrap();
    assert_eq!(watcher.seen.len(), 1 + BATCHES - 3);
    assert_eq!(watcher.seen.first(), Some(&(3 * BATCH, PICTURES)));
    assert_eq!(watcher.seen.last(), Some(&(PICTURES, PICTURES)));
}
