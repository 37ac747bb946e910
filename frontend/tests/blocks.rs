//! Block formats decode bit for bit as the reference package does; `data/make_blocks.py` wrote the golden file.

use actc_types::{BlockFormat, DType, Encoding, Role, WeightView};

#[test]
fn every_format_decodes_as_the_reference() {
    let mut rest: &[u8] = include_bytes!("data/blocks.bin");
    let mut seen = Vec::new();
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(16);
        let name = std::str::from_utf8(&head[..8]).unwrap().trim_end_matches('\0');
        let format = BlockFormat::parse(name).unwrap();
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap()) as usize;
        let (blocks, elements) = (word(8), word(12));
        assert_eq!(elements, blocks * format.block_len());
        let (bytes, tail) = tail.split_at(blocks * format.block_bytes());
        let (golden, tail) = tail.split_at(elements * 4);
        let encoding = Encoding::Block(format);
        let view = WeightView::new(&encoding, DType::F32, 1, elements, [(Role::Data, bytes)]).unwrap();
        let mut row = vec![0f32; elements];
        view.row(0, &mut row);
        for (i, (found, golden)) in row.iter().zip(golden.chunks_exact(4)).enumerate() {
            let golden = f32::from_le_bytes(golden.try_into().unwrap());
            assert_eq!(found.to_bits(), golden.to_bits(), "{name}[{i}]: {found} and {golden}");
        }
        seen.push(format);
        rest = tail;
    }
    assert_eq!(seen, BlockFormat::ALL);
}
