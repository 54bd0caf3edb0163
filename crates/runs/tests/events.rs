//! TensorBoard event files, read back record by record.
#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

use std::path::Path;

use image::RgbImage;
use protobuf::Message;
use runs::metrics::{EpochScores, SampleCaption, ScoredSplit, Tracker};
use tensorboard_proto::event::Event;
use tensorboard_proto::summary::Summary_Value;

/// CRC-32C of the record format, masked as TensorFlow masks it.
fn masked_crc(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
    });
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Reads the one event file of a run.
fn events(run: &Path) -> Vec<Event> {
    let entries = std::fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    let mut files = entries.filter(|path| path.to_str().unwrap().contains("events.out.tfevents."));
    let bytes = std::fs::read(files.next().unwrap()).unwrap();
    assert_eq!(files.next(), None);
    let mut rest = bytes.as_slice();
    let mut events = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_at(8);
        let count = u64::from_le_bytes(length.try_into().unwrap()) as usize;
        let (length_crc, after) = after.split_at(4);
        let (data, after) = after.split_at(count);
        let (data_crc, after) = after.split_at(4);
        assert_eq!(length_crc, masked_crc(length).to_le_bytes());
        assert_eq!(data_crc, masked_crc(data).to_le_bytes());
        events.push(Event::parse_from_bytes(data).unwrap());
        rest = after;
    }
    events
}

fn scores(epoch: u64) -> EpochScores {
    EpochScores {
        epoch,
        step: epoch * 10,
        split: ScoredSplit::Validation,
        pictures: 2,
        bleu_1: 0.75,
        bleu_2: 0.5,
        bleu_3: 0.25,
        bleu_4: 0.125,
        rouge_l: 0.5,
        cider: 1.5,
    }
}

fn sample(folder: &Path, name: &str, prediction: &str) -> SampleCaption {
    SampleCaption {
        image: folder.join(name).into(),
        file_name: name.to_owned(),
        prediction: prediction.to_owned(),
        reference: "a dog | a <b>cat</b>".to_owned(),
    }
}

#[test]
fn captions_are_written_for_each_epoch_and_pictures_once() {
    let folder = tempfile::tempdir().unwrap();
    let (run, images) = (folder.path().join("run"), folder.path());
    std::fs::create_dir(&run).unwrap();
    let red = RgbImage::from_pixel(512, 384, image::Rgb([255, 0, 0]));
    red.save(images.join("a_1_.png")).unwrap();
    let mut tracker = Tracker::open(&run, 0).unwrap();
    for (epoch, prediction) in [(1, "a *dog*"), (2, "two\ndogs")] {
        let samples = [sample(images, "a_1_.png", prediction), sample(images, "gone.png", "a cat")];
        tracker.record_scores(&scores(epoch), &samples).unwrap();
    }
    drop(tracker);

    let events = events(&run);
    let values: Vec<(i64, &Summary_Value)> = events
        .iter()
        .flat_map(|event| event.get_summary().get_value().iter().map(|value| (event.step, value)))
        .collect();
    let named = |tag: &str| -> Vec<(i64, &Summary_Value)> {
        values.iter().copied().filter(|(_, value)| value.get_tag() == tag).collect()
    };

    let [(10, first), (20, second)] = named("validation/captions")[..] else {
        panic!("one table for each epoch")
    };
    let text = |value: &Summary_Value| {
        assert_eq!(value.get_metadata().get_plugin_data().get_plugin_name(), "text");
        let [text] = value.get_tensor().get_string_val() else { panic!("one text") };
        String::from_utf8(text.clone()).unwrap()
    };
    assert_eq!(
        text(first),
        "| picture | caption | reference |\n\
         | --- | --- | --- |\n\
         | a\\_1\\_.png | a \\*dog\\* | a dog \\| a &lt;b>cat&lt;/b> |\n\
         | gone.png | a cat | a dog \\| a &lt;b>cat&lt;/b> |\n"
    );
    assert!(text(second).contains("| two dogs |"), "{}", text(second));

    let [(10, shown)] = named("validation pictures/a_1_.png")[..] else { panic!("one picture") };
    assert_eq!(shown.get_metadata().get_summary_description(), "a dog \\| a &lt;b>cat&lt;/b>");
    let image = shown.get_image();
    assert_eq!((image.width, image.height, image.colorspace), (256, 192, 3));
    let jpeg = image::load_from_memory(image.get_encoded_image_string()).unwrap().to_rgb8();
    assert_eq!(jpeg.dimensions(), (256, 192));
    let [red, green, blue] = jpeg.get_pixel(128, 96).0;
    assert!(red > 250 && green < 5 && blue < 5, "{red} {green} {blue}");
    assert!(named("validation pictures/gone.png").is_empty());

    let [(10, cider), (20, _)] = named("validation/CIDEr")[..] else { panic!("scores stay") };
    assert_eq!(cider.get_simple_value().to_bits(), 1.5_f32.to_bits());
}
