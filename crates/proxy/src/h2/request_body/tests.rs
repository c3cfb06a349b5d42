use http_body_util::BodyExt;

use super::*;
use crate::h2::body_channel::{BodySender, body_channel};

fn upload(max_bytes: u64) -> (BodySender, Rc<Upload>) {
    let (sender, source) = body_channel(None);
    (sender, Upload::new(source, max_bytes).unwrap())
}

async fn piece(body: &mut RequestBody) -> Option<Bytes> {
    let frame = body.frame().await?.unwrap();
    Some(frame.into_data().unwrap())
}

#[tokio::test]
async fn another_attempt_gets_the_whole_body_and_the_one_before_no_more_of_it() {
    let (sender, upload) = upload(u64::MAX);
    let mut first = upload.attempt(None);
    sender.send(Bytes::from_static(b"one"));
    assert_eq!(piece(&mut first).await.unwrap(), "one");
    assert!(upload.is_whole());
    let mut second = upload.attempt(None);
    assert!(first.frame().await.unwrap().is_err());
    assert_eq!(piece(&mut second).await.unwrap(), "one");
    sender.send(Bytes::from_static(b"two"));
    assert_eq!(piece(&mut second).await.unwrap(), "two");
    assert!(!second.is_end_stream());
    sender.finish(None);
    assert_eq!(piece(&mut second).await, None);
    assert_eq!(upload.progress().bytes(), 6, "each byte counts once");
}

#[tokio::test]
async fn an_answer_in_the_middle_of_another_attempt_loses_nothing_of_the_body() {
    let (sender, upload) = upload(u64::MAX);
    let mut first = upload.attempt(None);
    sender.send(Bytes::from_static(b"one"));
    piece(&mut first).await.unwrap();
    sender.send(Bytes::from_static(b"two"));
    piece(&mut first).await.unwrap();
    let mut second = upload.attempt(None);
    assert_eq!(piece(&mut second).await.unwrap(), "one");
    upload.settle();
    assert_eq!(piece(&mut second).await.unwrap(), "two");
    assert!(!upload.is_whole(), "nothing is kept any more");
    sender.send(Bytes::from_static(b"three"));
    assert_eq!(piece(&mut second).await.unwrap(), "three");
    sender.finish(None);
    assert_eq!(piece(&mut second).await, None);
}

#[tokio::test]
async fn a_large_body_is_not_kept() {
    let (sender, upload) = upload(u64::MAX);
    let mut body = upload.attempt(None);
    for length in [MAX_KEPT_BYTES, 1] {
        assert!(upload.is_whole());
        sender.send(Bytes::from(vec![0; length]));
        assert_eq!(piece(&mut body).await.unwrap().len(), length);
    }
    assert!(!upload.is_whole());
}

#[tokio::test]
async fn a_body_beyond_its_limit_or_without_its_end_is_cut() {
    let (sender, large) = upload(4);
    let mut body = large.attempt(None);
    sender.send(Bytes::from_static(b"12345"));
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(large.progress().failure(), Some(UploadFailure::TooLarge));

    let (sender, short) = upload(4);
    let mut body = short.attempt(None);
    drop(sender);
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(short.progress().failure(), Some(UploadFailure::Incomplete));
}

#[tokio::test]
async fn trailers_are_a_frame_or_go_where_they_are_wanted() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    trailers.insert("connection", "close".parse().unwrap());
    let (sender, upload) = upload(u64::MAX);
    sender.finish(Some(trailers));
    let frame = upload.attempt(None).frame().await.unwrap().unwrap();
    let fields = frame.into_trailers().unwrap();
    assert_eq!(fields.len(), 1, "{fields:?}");
    let slot = TrailerSlot::default();
    assert!(upload.attempt(Some(slot.clone())).frame().await.is_none());
    assert!(slot.is_set());
}

#[tokio::test]
async fn who_waits_for_a_body_that_nobody_wants_hears_of_it() {
    let (_sender, upload) = upload(u64::MAX);
    let mut body = upload.attempt(None);
    let waiting = tokio::join!(body.frame(), async { upload.close() }).0;
    assert!(waiting.unwrap().is_err());
}
