// What nvcc gives each kernel: registers, threads a block, static shared memory. The figures are those of the emulated
// device's architecture in bench/results/cuda-resources.txt, which 'npm run cuda:resources' writes (CUDA_ON_HOST_RESOURCES names another file).
// A kernel is a function here; its name comes from the symbol table of the file that it was loaded from.
#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>

#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>

#include "cuda_runtime.h"

namespace cuda_on_host {
namespace {

std::string architectureHere() { return hasHopperParts() ? "sm_90a" : "sm_80"; }

std::string reportPath() {
  const char* other = std::getenv("CUDA_ON_HOST_RESOURCES");
  if (other) {
    return other;
  }
  const std::string here = __FILE__;
  return here.substr(0, here.rfind('/')) + "/../../bench/results/cuda-resources.txt";
}

std::map<std::string, Kernel> readReport() {
  const std::string path = reportPath();
  std::ifstream file(path);
  if (!file) {
    die("there is no " + path + ": run 'npm run cuda:resources'");
  }
  std::map<std::string, Kernel> kernels;
  const std::string wanted = architectureHere();
  std::string line, architecture, spilled, stack, barriers;
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    Kernel kernel;
    if (fields >> architecture && architecture == wanted &&
        fields >> kernel.registers >> spilled >> stack >> kernel.shared >> barriers >> kernel.threads >> std::ws &&
        std::getline(fields, kernel.name)) {
      kernel.reported = true;
      kernels[kernel.name] = kernel;
    }
  }
  return kernels;
}

// "void qkspace::(anonymous namespace)::kernel<64, true>(int, float*)" becomes "kernel<64, true>", as in the report.
std::string nameAndTemplateArguments(const char* symbol) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> readable(abi::__cxa_demangle(symbol, nullptr, nullptr, &status),
                                                        std::free);
  std::string name = readable ? readable.get() : symbol;
  for (const std::string part : {"(anonymous namespace)::", "qkspace::", "void "}) {
    for (size_t at = name.find(part); at != std::string::npos; at = name.find(part)) {
      name.erase(at, part.size());
    }
  }
  return name.substr(0, name.find('('));
}

// Names of the functions of the file that `function` is in, by address in that file.
std::map<uint64_t, std::string> functionsOf(const Dl_info& info) {
  std::ifstream file(info.dli_fname, std::ios::binary);
  if (!file) {
    file.open("/proc/self/exe", std::ios::binary);
  }
  const std::string image{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const auto* header = reinterpret_cast<const Elf64_Ehdr*>(image.data());
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(image.data() + header->e_shoff);
  std::map<uint64_t, std::string> functions;
  for (int i = 0; i < header->e_shnum; i++) {
    if (sections[i].sh_type != SHT_SYMTAB) {
      continue;
    }
    const auto* symbols = reinterpret_cast<const Elf64_Sym*>(image.data() + sections[i].sh_offset);
    const char* names = image.data() + sections[sections[i].sh_link].sh_offset;
    for (size_t s = 0; s < sections[i].sh_size / sizeof(Elf64_Sym); s++) {
      if (ELF64_ST_TYPE(symbols[s].st_info) == STT_FUNC && symbols[s].st_value != 0) {
        functions[symbols[s].st_value] = names + symbols[s].st_name;
      }
    }
  }
  return functions;
}

std::mutex mutex;

}  // namespace

bool hasHopperParts() {
  const char* wanted = std::getenv("CUDA_ON_HOST_CAPABILITY");
  const std::string capability = wanted ? wanted : "9.0";
  if (capability != "9.0" && capability != "8.0") {
    die("CUDA_ON_HOST_CAPABILITY is '" + capability + "', expected 8.0 or 9.0");
  }
  return capability == "9.0";
}

const Kernel& kernelAt(const void* function) {
  static const std::map<std::string, Kernel> report = readReport();
  static std::map<const void*, Kernel> known;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = known.find(function);
  if (found != known.end()) {
    return found->second;
  }
  Dl_info info;
  if (!dladdr(function, &info)) {
    die("a kernel lies in no file");
  }
  static const std::map<uint64_t, std::string> functions = functionsOf(info);
  const auto symbol =
      functions.find(reinterpret_cast<uintptr_t>(function) - reinterpret_cast<uintptr_t>(info.dli_fbase));
  if (symbol == functions.end()) {
    die(std::string("a kernel has no name in ") + info.dli_fname + ": the symbols must not be stripped");
  }
  const std::string name = nameAndTemplateArguments(symbol->second.c_str());
  const auto row = report.find(name);
  Kernel& kernel = known[function];
  if (row == report.end()) {
    kernel.name = name;
  } else {
    kernel = row->second;
  }
  return kernel;
}

}  // namespace cuda_on_host
