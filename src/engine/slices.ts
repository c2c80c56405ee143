// Large tensors are worked on in slices of consecutive bands: memory is bounded by the slices under way, whatever the
// tensor's size.

/** A slice has about so many bytes of its tensor, and at least one band: few, since fresh memory is slow. */
export const SLICE_BYTES = 2 * 2 ** 20;

export interface SliceRange {
  readonly firstBand: number;
  readonly bandCount: number;
  /** Bytes of the tensor: from `start` to before `end`. */
  readonly start: number;
  readonly end: number;
}

export const sliceBytes = ({ start, end }: SliceRange): number => end - start;

/** What has to be known of a tensor to cut it: its bytes, its bands, and the bytes of each but the last. */
export interface Extent {
  readonly tensorBytes: number;
  readonly bands: number;
  readonly bandBytes: number;
}

/** The slices of a tensor, in order. */
export function* slicesOf({ tensorBytes, bands, bandBytes }: Extent): Generator<SliceRange, void, void> {
  const most = Math.max(1, Math.floor(SLICE_BYTES / bandBytes));
  for (let firstBand = 0; firstBand < bands; firstBand += most) {
    const bandCount = Math.min(most, bands - firstBand);
    const end = Math.min(tensorBytes, (firstBand + bandCount) * bandBytes);
    yield { firstBand, bandCount, start: firstBand * bandBytes, end };
  }
}
