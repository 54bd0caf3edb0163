//! Painting of a scene's place.
//!
//! Everything that captions mention (sun, clouds, moon, sea, buildings …) is always visible; only
//! its details are random.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::canvas::{Canvas, Color, Paint, Shape, darker, lighter};
use crate::scene::{Place, Scene};

/// Start of the ground, in image widths from the top.
const HORIZON: f32 = 0.6;

const WHITE: Color = [255.0; 3];

/// Paints the whole canvas.
pub(crate) fn paint_place(canvas: &mut Canvas, scene: &Scene, random: &mut ChaCha8Rng) {
    match scene.place {
        Place::Grass => grass(canvas, scene.cloudy, random),
        Place::Beach => beach(canvas, scene.cloudy, random),
        Place::Snow => snow(canvas, random),
        Place::Night => night(canvas, random),
        Place::Street => street(canvas, random),
        Place::Lake => lake(canvas, scene.cloudy, random),
        Place::Desert => desert(canvas, random),
        Place::Room => room(canvas),
    }
}

/// Paints a band from `top` to `bottom` over the whole width.
fn band(canvas: &mut Canvas, top: f32, bottom: f32, paint: Paint) {
    canvas.fill(
        &Shape::Box((0.5, f32::midpoint(top, bottom)), (0.6, (bottom - top) / 2.0), 0.0),
        paint,
    );
}

fn sky(canvas: &mut Canvas, top: Color, bottom: Color) {
    band(canvas, -0.1, HORIZON + 0.05, Paint::gradient(top, bottom));
}

fn disc(canvas: &mut Canvas, x: f32, y: f32, radius: f32, paint: impl Into<Paint>) {
    canvas.fill(&Shape::Ellipse((x, y), (radius, radius)), paint);
}

fn day_sky(canvas: &mut Canvas, cloudy: bool, random: &mut ChaCha8Rng) {
    if cloudy {
        sky(canvas, [150.0, 178.0, 204.0], [206.0, 220.0, 230.0]);
        for (x, y) in [(0.16, 0.14), (0.52, 0.08), (0.86, 0.17)] {
            let x = x + random.random_range(-0.06..0.06);
            for (dx, dy, radius) in [(-0.08, 0.01, 0.05), (0.0, -0.015, 0.065), (0.08, 0.01, 0.05)]
            {
                let half = (radius * 1.3, radius * 0.75);
                canvas.fill(
                    &Shape::Ellipse((x + dx, y + dy), half),
                    Paint::gradient(WHITE, [224.0, 230.0, 236.0]),
                );
            }
        }
    } else {
        sky(canvas, [84.0, 160.0, 232.0], [196.0, 226.0, 246.0]);
        let x = if random.random() { 0.12 } else { 0.88 };
        disc(canvas, x, 0.12, 0.12, Paint::from([255.0, 240.0, 170.0]).sheer(0.35));
        disc(canvas, x, 0.12, 0.075, [255.0, 226.0, 90.0]);
    }
}

/// Scatters short strokes over the ground, smaller towards the horizon.
fn strokes(
    canvas: &mut Canvas,
    random: &mut ChaCha8Rng,
    count: usize,
    rise: f32,
    paints: &[Paint],
) {
    for _ in 0..count {
        let y = random.random_range(HORIZON + 0.03..1.0);
        let near = (y - HORIZON) / (1.0 - HORIZON);
        let x = random.random_range(0.0..1.0);
        let length = 0.012 + 0.03 * near;
        let paint = paints[random.random_range(0..paints.len())];
        let lean = if rise > 0.0 { random.random_range(-0.3..0.3) * length } else { length };
        canvas
            .fill(&Shape::Line((x, y), (x + lean, y - rise * length), 0.004 + 0.004 * near), paint);
    }
}

fn grass(canvas: &mut Canvas, cloudy: bool, random: &mut ChaCha8Rng) {
    day_sky(canvas, cloudy, random);
    let far = Paint::gradient([128.0, 182.0, 120.0], [86.0, 150.0, 80.0]);
    let x = random.random_range(0.1..0.9);
    canvas.fill(&Shape::Ellipse((x, HORIZON + 0.06), (0.5, 0.17)), far);
    canvas.fill(&Shape::Ellipse((x + 0.6, HORIZON + 0.07), (0.45, 0.14)), far);
    canvas.fill(&Shape::Ellipse((x - 0.65, HORIZON + 0.07), (0.45, 0.14)), far);
    band(canvas, HORIZON, 1.05, Paint::gradient([120.0, 190.0, 78.0], [58.0, 136.0, 48.0]));
    let blades = [[74.0, 150.0, 52.0], [140.0, 206.0, 92.0], [60.0, 128.0, 44.0]].map(Paint::from);
    strokes(canvas, random, 90, 1.0, &blades);
}

fn beach(canvas: &mut Canvas, cloudy: bool, random: &mut ChaCha8Rng) {
    day_sky(canvas, cloudy, random);
    band(
        canvas,
        HORIZON - 0.16,
        HORIZON + 0.08,
        Paint::gradient([30.0, 104.0, 176.0], [96.0, 190.0, 214.0]),
    );
    for y in [HORIZON - 0.1, HORIZON - 0.05, HORIZON] {
        for _ in 0..4 {
            let x = random.random_range(0.0..1.0);
            canvas.fill(&Shape::Line((x, y), (x + 0.12, y), 0.007), Paint::from(WHITE).sheer(0.5));
        }
    }
    canvas.fill(&Shape::Ellipse((0.5, 1.24), (0.95, 0.62)), WHITE);
    canvas.fill(
        &Shape::Ellipse((0.5, 1.26), (0.96, 0.62)),
        Paint::gradient([246.0, 224.0, 172.0], [228.0, 190.0, 126.0]),
    );
    let grains = [[214.0, 176.0, 112.0], [252.0, 236.0, 196.0]].map(Paint::from);
    for _ in 0..70 {
        let y = random.random_range(HORIZON + 0.12..1.0);
        let x = random.random_range(0.0..1.0);
        disc(canvas, x, y, 0.004, grains[random.random_range(0..grains.len())]);
    }
}

fn snow(canvas: &mut Canvas, random: &mut ChaCha8Rng) {
    sky(canvas, [150.0, 172.0, 198.0], [214.0, 224.0, 234.0]);
    for step in 0..9 {
        let x = step as f32 * 0.125 + random.random_range(-0.04..0.04);
        let tall = random.random_range(0.1..0.2);
        let corners = [(x - 0.05, HORIZON + 0.03), (x, HORIZON - tall), (x + 0.05, HORIZON + 0.03)];
        canvas.fill(
            &Shape::Polygon(&corners),
            Paint::gradient([196.0, 210.0, 216.0], [78.0, 108.0, 104.0]),
        );
    }
    band(canvas, HORIZON, 1.05, Paint::gradient([236.0, 242.0, 250.0], [214.0, 226.0, 242.0]));
    canvas.fill(&Shape::Ellipse((0.2, HORIZON + 0.06), (0.5, 0.08)), [240.0, 245.0, 252.0]);
    canvas.fill(&Shape::Ellipse((0.85, HORIZON + 0.07), (0.45, 0.08)), [246.0, 249.0, 254.0]);
    for _ in 0..70 {
        let (x, y) = (random.random_range(0.0..1.0), random.random_range(0.0..1.0));
        disc(canvas, x, y, random.random_range(0.004..0.011), Paint::from(WHITE).sheer(0.9));
    }
}

fn night(canvas: &mut Canvas, random: &mut ChaCha8Rng) {
    sky(canvas, [8.0, 12.0, 44.0], [38.0, 46.0, 104.0]);
    for _ in 0..60 {
        let (x, y) = (random.random_range(0.0..1.0), random.random_range(0.0..HORIZON));
        disc(canvas, x, y, random.random_range(0.002..0.007), [255.0, 252.0, 224.0]);
    }
    let x = if random.random() { 0.15 } else { 0.85 };
    disc(canvas, x, 0.14, 0.11, Paint::from([255.0, 250.0, 210.0]).sheer(0.14));
    disc(canvas, x, 0.14, 0.075, [250.0, 244.0, 206.0]);
    disc(canvas, x + 0.02, 0.12, 0.014, [226.0, 218.0, 178.0]);
    disc(canvas, x - 0.025, 0.155, 0.018, [226.0, 218.0, 178.0]);
    canvas.fill(&Shape::Ellipse((0.25, HORIZON + 0.06), (0.55, 0.15)), [16.0, 30.0, 48.0]);
    canvas.fill(&Shape::Ellipse((0.9, HORIZON + 0.06), (0.5, 0.11)), [14.0, 26.0, 42.0]);
    band(canvas, HORIZON, 1.05, Paint::gradient([20.0, 46.0, 46.0], [10.0, 26.0, 28.0]));
}

fn street(canvas: &mut Canvas, random: &mut ChaCha8Rng) {
    sky(canvas, [158.0, 190.0, 214.0], [222.0, 230.0, 234.0]);
    let walls = [
        [150.0, 132.0, 124.0],
        [124.0, 132.0, 146.0],
        [168.0, 158.0, 140.0],
        [112.0, 110.0, 124.0],
    ];
    let offset = random.random_range(0..walls.len());
    for step in 0..5 {
        let x = 0.1 + step as f32 * 0.2;
        let top = random.random_range(0.12..0.34);
        let wall: Color = walls[(step + offset) % walls.len()];
        let middle = f32::midpoint(top, HORIZON + 0.02);
        let half = (0.098, (HORIZON + 0.02 - top) / 2.0);
        canvas.fill(
            &Shape::Box((x, middle), half, 0.0),
            Paint::gradient(lighter(wall, 0.1), darker(wall, 0.1)),
        );
        let mut y = top + 0.045;
        while y < HORIZON - 0.04 {
            for dx in [-0.05, 0.0, 0.05] {
                let pane = if random.random_range(0..4) == 0 {
                    [250.0, 228.0, 150.0]
                } else {
                    [202.0, 222.0, 234.0]
                };
                canvas.fill(&Shape::Box((x + dx, y), (0.015, 0.02), 0.0), pane);
            }
            y += 0.075;
        }
    }
    band(
        canvas,
        HORIZON,
        HORIZON + 0.07,
        Paint::gradient([196.0, 194.0, 190.0], [180.0, 178.0, 174.0]),
    );
    band(canvas, HORIZON + 0.07, 1.05, Paint::gradient([92.0, 92.0, 98.0], [66.0, 66.0, 72.0]));
    for step in 0..5 {
        let x = step as f32 * 0.25;
        canvas.fill(&Shape::Line((x - 0.06, 0.93), (x + 0.06, 0.93), 0.022), [238.0, 236.0, 226.0]);
    }
}

fn lake(canvas: &mut Canvas, cloudy: bool, random: &mut ChaCha8Rng) {
    day_sky(canvas, cloudy, random);
    for (x, tall, color) in [
        (0.12, 0.22, [112.0, 140.0, 150.0]),
        (0.5, 0.16, [128.0, 154.0, 158.0]),
        (0.86, 0.25, [104.0, 132.0, 142.0]),
    ] {
        let x = x + random.random_range(-0.05..0.05);
        canvas.fill(
            &Shape::Ellipse((x, HORIZON), (0.34, tall)),
            Paint::gradient(lighter(color, 0.2), color),
        );
    }
    band(canvas, HORIZON, 1.05, Paint::gradient([86.0, 164.0, 212.0], [22.0, 84.0, 158.0]));
    let waves = [Paint::from(WHITE).sheer(0.45), Paint::from([14.0, 62.0, 130.0]).sheer(0.4)];
    strokes(canvas, random, 60, 0.0, &waves);
}

fn desert(canvas: &mut Canvas, random: &mut ChaCha8Rng) {
    sky(canvas, [236.0, 112.0, 74.0], [255.0, 206.0, 128.0]);
    let x = random.random_range(0.2..0.8);
    disc(canvas, x, HORIZON - 0.06, 0.2, Paint::from([255.0, 236.0, 160.0]).sheer(0.35));
    disc(canvas, x, HORIZON - 0.06, 0.13, [255.0, 232.0, 130.0]);
    band(canvas, HORIZON, 1.05, Paint::gradient([234.0, 164.0, 84.0], [190.0, 112.0, 54.0]));
    canvas.fill(
        &Shape::Ellipse((0.2, HORIZON + 0.08), (0.6, 0.12)),
        Paint::gradient([240.0, 176.0, 96.0], [222.0, 150.0, 76.0]),
    );
    canvas.fill(
        &Shape::Ellipse((0.95, HORIZON + 0.1), (0.55, 0.12)),
        Paint::gradient([232.0, 162.0, 84.0], [212.0, 138.0, 66.0]),
    );
    let ripples = [
        Paint::from([170.0, 98.0, 46.0]).sheer(0.4),
        Paint::from([250.0, 196.0, 120.0]).sheer(0.4),
    ];
    strokes(canvas, random, 40, 0.0, &ripples);
}

fn room(canvas: &mut Canvas) {
    band(
        canvas,
        -0.1,
        HORIZON + 0.1,
        Paint::gradient([240.0, 226.0, 198.0], [228.0, 208.0, 174.0]),
    );
    canvas.fill(&Shape::Box((0.5, 0.24), (0.19, 0.17), 0.01), [252.0; 3]);
    canvas.fill(
        &Shape::Box((0.5, 0.24), (0.17, 0.15), 0.0),
        Paint::gradient([120.0, 186.0, 236.0], [206.0, 232.0, 246.0]),
    );
    canvas.fill(&Shape::Line((0.5, 0.09), (0.5, 0.39), 0.016), [252.0; 3]);
    canvas.fill(&Shape::Line((0.33, 0.24), (0.67, 0.24), 0.016), [252.0; 3]);
    for (x, side) in [(0.27, -1.0), (0.73, 1.0)] {
        let corners = [
            (x - 0.05, 0.05),
            (x + 0.05, 0.05),
            (x + 0.06 * side + 0.03, 0.46),
            (x + 0.06 * side - 0.05, 0.46),
        ];
        canvas.fill(
            &Shape::Polygon(&corners),
            Paint::gradient([196.0, 92.0, 82.0], [164.0, 70.0, 64.0]),
        );
    }
    band(canvas, HORIZON + 0.06, HORIZON + 0.1, Paint::from([250.0, 246.0, 238.0]));
    band(canvas, HORIZON + 0.1, 1.05, Paint::gradient([184.0, 128.0, 78.0], [146.0, 94.0, 52.0]));
    for step in 1..5 {
        let y = HORIZON + 0.1 + step as f32 * step as f32 * 0.018;
        canvas.fill(
            &Shape::Line((0.0, y), (1.0, y), 0.005),
            Paint::from([110.0, 68.0, 36.0]).sheer(0.6),
        );
    }
}
