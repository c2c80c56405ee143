// What DietGPU uses of glog: checks that end the process with a line that says which.
#pragma once

#include <cstdlib>
#include <iostream>
#include <sstream>

namespace glog_stand_in {

class Failure {
 public:
  Failure(const char* file, int line, const char* what) { text_ << file << ":" << line << ": " << what << " "; }
  ~Failure() {
    std::cerr << text_.str() << std::endl;
    std::abort();
  }
  std::ostream& stream() { return text_; }

 private:
  std::ostringstream text_;
};

/** Takes a stream to nothing, so that both sides of ?: are void; & binds less tightly than <<. */
struct Nothing {
  void operator&(std::ostream&) {}
};

}  // namespace glog_stand_in

#define CHECK(condition) \
  (condition) ? (void)0  \
              : glog_stand_in::Nothing() & glog_stand_in::Failure(__FILE__, __LINE__, #condition).stream()
#define CHECK_EQ(a, b) CHECK((a) == (b))
#define CHECK_NE(a, b) CHECK((a) != (b))
#define CHECK_GE(a, b) CHECK((a) >= (b))
#define CHECK_LE(a, b) CHECK((a) <= (b))
