// The kernels in AVX2.
#include "host/kernels/lanes_avx2.hpp"
#include "host/kernels/lanes_few_avx2.hpp"
// They are written over the lanes above.
#include "host/kernels/kernel_base.hpp"
#include "host/kernels/kernel_decode.hpp"
#include "host/kernels/kernel_encode.hpp"

namespace codecllm {

const Kernels kAvx2Kernels = {decode_tiles, encode_coded, cut_plane,       find_residuals,
                              find_pairs,   settle_pairs, find_codes,      pack_direct,
                              pack_raw,     sum_u32s,     sum_of_counts,   sum_of_unions,
                              count_window, measure,      cut_differences, lay_out_elements};

}  // namespace codecllm
