// What every blob store must do, whatever is behind it: run by the tests of folders, of the fake server and of a real one.
#pragma once

#include <algorithm>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/hash.h"
#include "blobs/blob_store.h"

namespace promptsweep {

inline absl::Status PutBytes(BlobStore& store, const std::string& key, const std::string& bytes) {
  return store.Put(key, bytes, Sha256Of(bytes));
}

// Every key under a prefix, in the order given out.
inline std::vector<std::string> ListAll(BlobStore& store, const std::string& prefix) {
  std::vector<std::string> keys;
  std::string cursor;
  do {
    const auto page = store.List(prefix, cursor);
    EXPECT_TRUE(page.ok()) << page.status();
    if (!page.ok()) break;
    for (const BlobEntry& entry : page->entries) keys.push_back(entry.key);
    cursor = page->next;
  } while (!cursor.empty());
  return keys;
}

// `store` is empty at first, and again at the end.
inline void CheckContract(BlobStore& store) {
  std::string bytes("a\0b\xff\r\n", 6);
  for (int i = 0; i < 12; ++i) bytes += bytes.substr(0, 100'000);
  EXPECT_TRUE(absl::IsNotFound(store.Stat("ab/x.webp").status()));
  EXPECT_TRUE(absl::IsNotFound(store.Get("ab/x.webp").status()));
  EXPECT_TRUE(store.Delete("ab/x.webp").ok());
  EXPECT_THAT(ListAll(store, ""), ::testing::IsEmpty());

  const absl::Time before = absl::Now() - absl::Seconds(2);
  ASSERT_TRUE(PutBytes(store, "ab/x.webp", bytes).ok()) << PutBytes(store, "ab/x.webp", bytes);
  EXPECT_TRUE(PutBytes(store, "ab/x.webp", bytes).ok()) << "the same bytes again";
  EXPECT_EQ(PutBytes(store, "ab/x.webp", bytes + "x").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(PutBytes(store, "ab/x.webp", "y" + bytes.substr(1)).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(store.Put("ab/y.webp", bytes, Sha256Of("other")).code(), absl::StatusCode::kInvalidArgument);
  const auto got = store.Get("ab/x.webp");
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_TRUE(*got == bytes) << "the first bytes stay";
  const auto info = store.Stat("ab/x.webp");
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->size, bytes.size());
  EXPECT_EQ(info->sha256, Sha256Of(bytes));

  // Names that need encoding, an empty object, and order by whole keys.
  const std::vector<std::string> keys = {"a b/c+d=e&f.png", "a-b/1", "a/1", "a/2", "ab/x.webp", "z'(1)*~!@$,;:[].jpg"};
  for (const std::string& key : keys) {
    if (key != "ab/x.webp") {
      ASSERT_TRUE(PutBytes(store, key, "").ok()) << key << PutBytes(store, key, "");
    }
    EXPECT_TRUE(store.Stat(key).ok()) << key << store.Stat(key).status();
  }
  EXPECT_THAT(ListAll(store, ""), ::testing::UnorderedElementsAreArray(keys));
  EXPECT_THAT(ListAll(store, "a/"), ::testing::ElementsAre("a/1", "a/2"));
  EXPECT_THAT(ListAll(store, "q/"), ::testing::IsEmpty());
  const auto page = store.List("ab/", "");
  ASSERT_TRUE(page.ok() && page->entries.size() == 1) << page.status();
  EXPECT_EQ(page->entries[0].size, bytes.size());
  EXPECT_GE(page->entries[0].modified, before);
  EXPECT_LE(page->entries[0].modified, absl::Now() + absl::Seconds(2));

  for (const std::string key : {"", "/", "/etc/passwd", "a//b", "../x", "a/../../x", ".", "a/", "a?b", "a%2e", "a\nb", "a\\b"}) {
    EXPECT_EQ(PutBytes(store, key, "x").code(), absl::StatusCode::kInvalidArgument) << key;
    EXPECT_EQ(store.Get(key).status().code(), absl::StatusCode::kInvalidArgument) << key;
    EXPECT_EQ(store.Stat(key).status().code(), absl::StatusCode::kInvalidArgument) << key;
    EXPECT_EQ(store.Delete(key).code(), absl::StatusCode::kInvalidArgument) << key;
  }

  // Many writers of few keys, all with the same bytes for one key.
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&store] {
      for (int i = 0; i < 8; ++i) {
        const absl::Status put = PutBytes(store, absl::StrCat("many/", i), absl::StrCat("bytes ", i));
        EXPECT_TRUE(put.ok()) << put;
        const auto back = store.Get(absl::StrCat("many/", i));
        EXPECT_EQ(back.ok() ? *back : back.status().ToString(), absl::StrCat("bytes ", i));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(ListAll(store, "many/"), ::testing::SizeIs(8));

  for (int i = 0; i < 8; ++i) EXPECT_TRUE(store.Delete(absl::StrCat("many/", i)).ok());
  for (const std::string& key : keys) EXPECT_TRUE(store.Delete(key).ok()) << key;
  EXPECT_THAT(ListAll(store, ""), ::testing::IsEmpty());
}

}  // namespace promptsweep
