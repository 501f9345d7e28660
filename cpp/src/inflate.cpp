#include "inflate.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "bits.hpp"
#include "lzw.hpp"

namespace camnorm::detail {
namespace {

constexpr int longest_code = 15;
constexpr std::size_t literals = 256;
constexpr std::size_t end_of_block = 256;
constexpr std::size_t most_lengths = 288;
constexpr std::size_t most_distances = 32;
constexpr std::size_t copied = 32;  // bytes at a time

// What the next bits mean. In bits 0 to 5 how many of them it takes, extra bits among them.
//
// A literal: bit 6, and its value from bit 16 on.
// A length or a distance: the bits of the code in bits 8 to 11, the least value from bit 16 on.
// A code that is longer than the table: the other table's bits in bits 8 to 11, its place from bit 16 on.
// What is neither a literal nor a value has one of the bits 12 to 14.
using Entry = std::uint32_t;
constexpr Entry is_literal = 1U << 6;
constexpr Entry is_end = 1U << 12;
constexpr Entry is_invalid = 1U << 13;
constexpr Entry is_table = 1U << 14;
constexpr Entry is_other = is_end | is_invalid | is_table;

constexpr unsigned bits_of(Entry entry) noexcept { return entry & 63; }
constexpr unsigned code_bits_of(Entry entry) noexcept { return entry >> 8 & 15; }
constexpr std::uint32_t value_of(Entry entry) noexcept { return entry >> 16; }

constexpr Entry value_entry(unsigned least, unsigned extra_bits) noexcept { return least << 16 | extra_bits; }

/// The entry of a code of this many bits.
constexpr Entry with_code(Entry meaning, int bits) noexcept {
    const auto n = static_cast<Entry>(bits);
    return meaning + n + ((meaning & (is_literal | is_other)) == 0 ? n << 8 : 0);
}

// What the next bits mean, several codes together: literals and then a match, of which either may be missing.
// In bits 0 to 5 how many bits they take, the match's distance not among them; in bits 6 to 8 the number of
// literals; in bits 9 to 17 the length of the match, 0 if there is none; literals from bit 24 on. No bits:
// something else comes.
using Joint = std::uint64_t;
constexpr std::size_t most_joined = 5;

constexpr Joint joint_literal(std::size_t place, std::uint32_t value) noexcept {
    return (Joint{value} << (24 + 8 * place)) + 64;
}
constexpr Joint joint_length(std::size_t length) noexcept { return Joint{length} << 9; }
constexpr std::size_t literals_of(Joint joint) noexcept { return joint >> 6 & 7; }
constexpr std::size_t length_of(Joint joint) noexcept { return joint >> 9 & 511; }

struct Meanings {
    Entry lengths[most_lengths];
    Entry distances[most_distances];
    Entry code_lengths[19];
};

constexpr Meanings make_meanings() noexcept {
    Meanings m{};
    for (unsigned i = 0; i < literals; ++i) m.lengths[i] = is_literal | i << 16;
    m.lengths[end_of_block] = is_end;
    unsigned least = 3;
    for (unsigned i = 0; i < 28; ++i) {
        const unsigned extra = i < 8 ? 0 : i / 4 - 1;
        m.lengths[257 + i] = value_entry(least, extra);
        least += 1U << extra;
    }
    m.lengths[285] = value_entry(258, 0);
    m.lengths[286] = m.lengths[287] = is_invalid;
    least = 1;
    for (unsigned i = 0; i < 30; ++i) {
        const unsigned extra = i < 4 ? 0 : i / 2 - 1;
        m.distances[i] = value_entry(least, extra);
        least += 1U << extra;
    }
    m.distances[30] = m.distances[31] = is_invalid;
    for (unsigned i = 0; i < 19; ++i) m.code_lengths[i] = value_entry(i, 0);
    return m;
}

constexpr Meanings meanings = make_meanings();

/// Decodes one code by a look at the next bits.
template <std::size_t size>
class Table {
public:
    /// @param bits     that are looked at first.
    /// @param lengths  of the codes in bits; 0 for what has none.
    /// False if there are no such codes.
    bool build(int bits, const std::uint8_t* lengths, std::size_t count, const Entry* meaning) noexcept {
        bits_ = bits;
        std::uint16_t of_length[longest_code + 1] = {};
        for (std::size_t i = 0; i < count; ++i) ++of_length[lengths[i]];
        of_length[0] = 0;
        std::uint32_t next_code[longest_code + 2] = {};
        std::uint32_t code = 0;
        std::size_t codes = 0;
        for (int length = 1; length <= longest_code; ++length) {
            next_code[length] = code;
            codes += of_length[length];
            code = (code + of_length[length]) << 1;
            if (code > 2U << length) return false;  // more codes than there can be
        }
        const bool complete = code == 2U << longest_code;
        // A set with a gap has at most one code, of one bit.
        if (!complete && (codes > 1 || codes != of_length[1])) return false;
        if (!complete) std::fill(entries_, entries_ + (std::size_t{1} << bits), is_invalid);
        std::size_t end = std::size_t{1} << bits;
        sort(lengths, count, of_length);
        std::uint32_t prefix = ~0U;
        Entry* sub = nullptr;
        int sub_bits = 0;
        for (std::size_t i = 0; i < codes; ++i) {
            const std::size_t symbol = sorted_[i];
            const int length = lengths[symbol];
            const std::uint32_t reversed = reverse(next_code[length]++, length);
            if (length <= bits) {
                fill(entries_, bits, reversed, length, with_code(meaning[symbol], length));
                continue;
            }
            const std::uint32_t low = reversed & ((1U << bits) - 1);
            if (low != prefix) {
                prefix = low;
                // As many bits as it takes until the codes from here on fill the table.
                sub_bits = length - bits;
                std::uint32_t room = 1U << sub_bits;
                auto left = static_cast<std::uint32_t>(of_length[length] - (i - first_of_[length]));
                for (int longer = length; left < room && longer < longest_code;) {
                    room = (room - left) << 1;
                    left = of_length[++longer];
                    ++sub_bits;
                }
                if (end + (std::size_t{1} << sub_bits) > size) return false;
                sub = entries_ + end;
                entries_[low] = static_cast<Entry>(end) << 16 | is_table | static_cast<Entry>(sub_bits) << 8 |
                                static_cast<Entry>(bits);
                end += std::size_t{1} << sub_bits;
            }
            fill(sub, sub_bits, reversed >> bits, length - bits, with_code(meaning[symbol], length));
        }
        return true;
    }

    /// Finds what comes together in the bits that are looked at first.
    void join(Joint* joints) const noexcept {
        const auto all = static_cast<unsigned>(bits_);
        for (std::uint32_t i = 0; i < 1U << bits_; ++i) {
            Joint joint = 0;
            unsigned taken = 0;
            for (std::size_t n = 0;; ++n) {
                const Entry entry = entries_[i >> taken];
                const unsigned bits = bits_of(entry);
                if ((entry & is_other) != 0 || taken + bits > all) break;
                if ((entry & is_literal) == 0) {
                    joint += joint_length(value_of(entry) +
                                          ((i >> taken & ((1U << bits) - 1)) >> code_bits_of(entry)));
                    taken += bits;
                    break;
                }
                if (n == most_joined) break;
                joint += joint_literal(n, value_of(entry));
                taken += bits;
            }
            joints[i] = joint + taken;
        }
    }

    /// The same, but for a longer code only where it is found.
    Entry first(std::uint64_t next) const noexcept { return entries_[next & ((1U << bits_) - 1)]; }

    /// What the bits that come next mean, a code that is longer than the table among them.
    Entry find(std::uint64_t next) const noexcept {
        const Entry entry = entries_[next & ((1U << bits_) - 1)];
        if ((entry & is_table) == 0) return entry;
        const std::uint64_t rest = next >> bits_of(entry);
        return entries_[value_of(entry) + (rest & ((1U << code_bits_of(entry)) - 1))];
    }

private:
    static std::uint32_t reverse(std::uint32_t code, int length) noexcept {
        std::uint32_t x = code;
        x = (x & 0x5555) << 1 | (x >> 1 & 0x5555);
        x = (x & 0x3333) << 2 | (x >> 2 & 0x3333);
        x = (x & 0x0F0F) << 4 | (x >> 4 & 0x0F0F);
        x = (x & 0x00FF) << 8 | x >> 8;
        return x >> (16 - length);
    }

    static void fill(Entry* table, int table_bits, std::uint32_t first, int length, Entry entry) noexcept {
        for (std::uint32_t i = first; i < 1U << table_bits; i += 1U << length) table[i] = entry;
    }

    /// Symbols by the length of their codes.
    void sort(const std::uint8_t* lengths, std::size_t count, const std::uint16_t* of_length) noexcept {
        std::uint16_t next[longest_code + 1] = {};
        for (int length = 1; length < longest_code; ++length)
            next[length + 1] = static_cast<std::uint16_t>(next[length] + of_length[length]);
        std::copy(next, next + longest_code + 1, first_of_);
        for (std::size_t i = 0; i < count; ++i)
            if (lengths[i] != 0) sorted_[next[lengths[i]]++] = static_cast<std::uint16_t>(i);
    }

    int bits_ = 0;
    Entry entries_[size];
    std::uint16_t sorted_[most_lengths];
    std::uint16_t first_of_[longest_code + 1];
};

/// Copies what lies `distance` before `to`, and up to 31 bytes too many unless they would be beyond `end`.
void copy_match(std::byte* to, std::size_t distance, std::size_t length, const std::byte* end) noexcept {
    const std::byte* from = to - distance;
    std::size_t i = 0;
    if (distance == 1) {
        std::memset(to, std::to_integer<int>(*from), length);
    } else if (static_cast<std::size_t>(end - to) < length + copied) {
        for (; i < length; ++i) to[i] = from[i];
    } else if (distance >= copied) {
        for (; i < length; i += copied) copy_bytes<copied>(to + i, from + i);
    } else {
        // Bytes repeat: once there are enough of them, whole periods can be copied.
        const std::size_t periods = (copied + distance - 1) / distance * distance;
        for (; i < std::min(length, periods); ++i) to[i] = from[i];
        for (; i < length; i += copied) copy_bytes<copied>(to + i, to + (i - periods));
    }
}

/// Checksum of bytes that come one after another.
class Adler32 {
public:
    explicit Adler32(const ByteKernels& kernels) noexcept : kernels_(kernels) {}

    void add(const std::byte* data, std::size_t bytes) noexcept {
        constexpr std::uint32_t modulus = 65521;
        while (bytes > 0) {
            const std::size_t n = std::min(bytes, bytes_summed);
            const ByteSums sums = kernels_.sums(data, n);
            b_ = (b_ + static_cast<std::uint32_t>(n) * a_ + sums.weighted % modulus) % modulus;
            a_ = (a_ + sums.sum) % modulus;
            data += n;
            bytes -= n;
        }
    }

    std::uint32_t value() const noexcept { return b_ << 16 | a_; }

private:
    const ByteKernels& kernels_;
    std::uint32_t a_ = 1, b_ = 0;
};

class Inflater {
public:
    Inflater(const std::byte* data, std::size_t bytes, std::byte* out, std::size_t capacity,
             const ByteKernels& kernels) noexcept
        : bits_(data, bytes), out_(out), end_(out + capacity), to_(out), summed_(out), sum_(kernels) {}

    std::ptrdiff_t run() noexcept {
        if (!header()) return damaged_codes;
        for (bool last = false; !last;) {
            if (!bits_.fill(3)) return damaged_codes;
            last = bits_.take(1) == 1;
            const std::uint32_t kind = bits_.take(2);
            const bool good = kind == 0 ? stored() : kind == 3 ? false : tables(kind) && codes();
            if (!good) return damaged_codes;
        }
        const std::byte* sum = bits_.take_bytes(4);
        if (sum == nullptr) return damaged_codes;
        std::uint32_t told = 0;
        for (int i = 0; i < 4; ++i) told = told << 8 | std::to_integer<std::uint32_t>(sum[i]);
        sum_up();
        return sum_.value() == told ? to_ - out_ : damaged_codes;
    }

private:
    /// Bytes of output that a round of many() may write, of a short match.
    static constexpr std::size_t margin = 8 + copied;
    static constexpr std::size_t summed_together = std::size_t{1} << 16;

    bool header() noexcept {
        if (!bits_.fill(16)) return false;
        const std::uint32_t method = bits_.take(8);
        const std::uint32_t flags = bits_.take(8);
        const bool dictionary = (flags & 0x20) != 0;
        return (method & 0x0F) == 8 && method >> 4 <= 7 && (method << 8 | flags) % 31 == 0 && !dictionary;
    }

    bool stored() noexcept {
        const std::byte* head = bits_.take_bytes(4);
        if (head == nullptr) return false;
        const auto byte = [&](int i) { return std::to_integer<std::size_t>(head[i]); };
        const std::size_t length = byte(0) | byte(1) << 8;
        if (length != ((byte(2) | byte(3) << 8) ^ 0xFFFF)) return false;
        const std::byte* data = bits_.take_bytes(length);
        if (data == nullptr || length > room()) return false;
        std::memcpy(to_, data, length);
        to_ += length;
        return true;
    }

    /// Makes the tables of a block, whose codes are always the same (1) or come first (2).
    bool tables(std::uint32_t kind) noexcept {
        std::uint8_t lengths[most_lengths + most_distances];
        std::size_t first = most_lengths, second = most_distances;
        if (kind == 1) {
            for (std::size_t i = 0; i < most_lengths; ++i)
                lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
            std::fill(lengths + most_lengths, lengths + most_lengths + most_distances, std::uint8_t{5});
        } else if (!read_lengths(lengths, first, second)) {
            return false;
        }
        // Small tables are sooner made, larger ones find more at a time.
        const int bits = bits_.left() < 4096 ? 9 : 10;
        if (lengths[end_of_block] == 0 || !lengths_.build(bits, lengths, first, meanings.lengths) ||
            !distances_.build(9, lengths + first, second, meanings.distances))
            return false;
        lengths_.join(joints_);
        joint_bits_ = bits;
        return true;
    }

    bool read_lengths(std::uint8_t* lengths, std::size_t& first, std::size_t& second) noexcept {
        if (!bits_.fill(14)) return false;
        first = 257 + bits_.take(5);
        second = 1 + bits_.take(5);
        const std::size_t count = 4 + bits_.take(4);
        if (first > 286 || second > 30) return false;
        constexpr std::uint8_t order[] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
        std::uint8_t own[19] = {};
        for (std::size_t i = 0; i < count; ++i) {
            if (!bits_.fill(3)) return false;
            own[order[i]] = static_cast<std::uint8_t>(bits_.take(3));
        }
        if (!code_lengths_.build(7, own, 19, meanings.code_lengths)) return false;
        for (std::size_t i = 0; i < first + second;) {
            bits_.fill(14);
            const Entry entry = code_lengths_.find(bits_.next());
            if ((entry & is_other) != 0 || bits_of(entry) > bits_.ready()) return false;
            bits_.drop(bits_of(entry));
            const std::uint32_t symbol = value_of(entry);
            if (symbol < 16) {
                lengths[i++] = static_cast<std::uint8_t>(symbol);
                continue;
            }
            const unsigned extra = symbol == 16 ? 2 : symbol == 17 ? 3 : 7;
            if (bits_.ready() < extra || (symbol == 16 && i == 0)) return false;
            const std::size_t times = bits_.take(extra) + (symbol == 18 ? 11 : 3);
            if (times > first + second - i) return false;
            std::fill(lengths + i, lengths + i + times, symbol == 16 ? lengths[i - 1] : std::uint8_t{0});
            i += times;
        }
        return true;
    }

    /// Decodes the codes of a block to its end.
    bool codes() noexcept {
        for (bool more = true; more;) {
            if (!many() || !one(more)) return false;
            if (static_cast<std::size_t>(to_ - summed_) >= summed_together) sum_up();
        }
        return true;
    }

    /// Decodes codes while they are of the usual kind, and far enough from the ends. Literals and matches
    /// come in no order that a processor could foresee: each round does the same for both.
    bool many() noexcept {
        if (room() < margin || !bits_.refill()) return true;
        // Writing bytes cannot change what is not in memory. Of `count`, only the lowest 6 bits count.
        std::uint64_t word = bits_.next();
        auto count = static_cast<std::uint32_t>(bits_.ready());
        const std::byte* in = bits_.following();
        const std::byte* const end = in + bits_.left();
        std::byte* to = to_;
        const std::byte* const begin = out_;
        const std::byte* const stop = to + std::min(room() - margin, summed_together);
        const std::uint64_t mask = (std::uint64_t{1} << joint_bits_) - 1;
        bool good = true;
        while (to <= stop && end - in >= 8) {
            const Joint joint = joints_[word & mask];
            const std::uint64_t rest = word >> (joint & 63);
            const std::size_t length = length_of(joint);
            const Entry entry = distances_.first(rest) & (length == 0 ? 0 : ~Entry{0});
            const std::uint32_t left = (count - static_cast<std::uint32_t>(joint)) & 63;
            const std::uint64_t filled = rest | load_low_first(in) << left;
            if ((joint & 63) == 0 || (entry & is_other) != 0) break;
            const std::uint64_t code = filled & ((std::uint64_t{1} << bits_of(entry)) - 1);
            const std::size_t distance =
                value_of(entry) + static_cast<std::size_t>(code >> code_bits_of(entry));
            const std::uint64_t five = joint >> 24;
            std::byte* const next = to + literals_of(joint);
            if (distance > static_cast<std::size_t>(next - begin)) {
                good = false;
                break;
            }
            std::memcpy(to, &five, sizeof five);
            in += 7 - (left >> 3);
            word = filled >> bits_of(entry);
            count = (left | 56) - entry;
            to = next + length;
            if (distance >= length && length <= copied) {
                copy_bytes<copied>(next, next - distance);
                continue;
            }
            if (length > static_cast<std::size_t>(end_ - next)) {
                good = false;
                break;
            }
            copy_match(next, distance, length, end_);
        }
        bits_.set(word, count & 63, in);
        to_ = to;
        return good;
    }

    /// Decodes one code.
    bool one(bool& more) noexcept {
        bits_.fill(48);
        Entry entry = lengths_.find(bits_.next());
        if (bits_of(entry) > bits_.ready()) return false;
        if ((entry & is_literal) != 0) {
            if (room() == 0) return false;
            *to_++ = static_cast<std::byte>(value_of(entry));
            bits_.drop(bits_of(entry));
            return true;
        }
        if ((entry & is_other) != 0) {
            bits_.drop(bits_of(entry));
            more = false;
            return (entry & is_end) != 0;
        }
        const std::size_t length = take_value(bits_, entry);
        entry = distances_.find(bits_.next());
        if ((entry & is_other) != 0 || bits_of(entry) > bits_.ready()) return false;
        const std::size_t distance = take_value(bits_, entry);
        if (distance > static_cast<std::size_t>(to_ - out_) || length > room()) return false;
        copy_match(to_, distance, length, end_);
        to_ += length;
        return true;
    }

    /// Adds to the checksum what is new, as long as it is in the cache.
    void sum_up() noexcept {
        sum_.add(summed_, static_cast<std::size_t>(to_ - summed_));
        summed_ = to_;
    }

    static std::size_t take_value(LowBits& bits, Entry entry) noexcept {
        const std::uint64_t code = bits.next() & ((std::uint64_t{1} << bits_of(entry)) - 1);
        bits.drop(bits_of(entry));
        return value_of(entry) + static_cast<std::size_t>(code >> code_bits_of(entry));
    }

    std::size_t room() const noexcept { return static_cast<std::size_t>(end_ - to_); }

    LowBits bits_;
    std::byte* out_;
    std::byte* end_;
    std::byte* to_;
    std::byte* summed_;  // how far the checksum has come
    Adler32 sum_;
    Table<4096> lengths_;
    int joint_bits_ = 0;
    Joint joints_[1024];
    Table<1024> distances_;
    Table<128> code_lengths_;
};

}  // namespace

std::ptrdiff_t inflate(const std::byte* data, std::size_t bytes, std::byte* out, std::size_t capacity,
                       const ByteKernels& kernels) noexcept {
    return Inflater(data, bytes, out, capacity, kernels).run();
}

}  // namespace camnorm::detail
